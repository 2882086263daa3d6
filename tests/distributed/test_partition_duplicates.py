"""A partition sends each name once and reports rows that repeat it."""

import tracemalloc
from functools import partial

import pytest

from prefactor_http import HttpClientConfig
from prefactor_http._bulk.duplicates import Duplicates
from prefactor_http.batch import register_partition
from prefactor_http.idempotency import new_id
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.testing import LocalPrefactor, serving

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


@pytest.fixture
def api():
    with serving(LocalPrefactor()) as server:
        yield server


@pytest.fixture
def register(api):
    return partial(
        register_partition,
        job="import",
        partition=0,
        config=HttpClientConfig(api.url, api.deployment_token, initial_retry_delay=0.01),
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
        chunk_size=2,
    )


def test_a_row_that_repeats_a_name_is_a_duplicate_of_the_first(api, register):
    rows = [
        {"external_identifier": "t-1", "purpose": "live"},
        {"purpose": "live"},
        {"purpose": "live", "external_identifier": " t-1"},
        {"external_identifier": "t-2"},
        {"external_identifier": "t-1", "purpose": "eval"},
        {"purpose": "live"},
    ]
    results = register(rows)
    assert [result["index"] for result in results] == list(range(6))
    assert [result["state"] for result in results] == [
        *("ok", "ok", "duplicate", "ok", "duplicate", "ok")
    ]
    assert [result["duplicate_of"] for result in results] == [None, None, 0, None, 0, None]
    assert results[2]["error"] == "row 0 has the external_identifier 't-1' already"
    assert results[4]["error"] == (
        "row 0 has the external_identifier 't-1' already, with other content"
    )
    assert results[0]["id"] == results[2]["id"] == results[4]["id"]
    assert results[0]["idempotency_key"] == results[4]["idempotency_key"]
    assert len(api.instances) == len(api.effects) == 4
    assert register(rows) == results


@pytest.mark.parametrize("name", ["id", "external_identifier", "idempotency_key"])
def test_an_id_an_external_identifier_or_a_key_identifies_a_row(api, register, name):
    value = {"id": new_id(api.agent_id)}.get(name, "name-0001")
    request = RegisterAgentInstanceRequest(**{name: value})
    results = register([{name: value}, request, {name: value}])
    assert [result["state"] for result in results] == ["ok", "duplicate", "duplicate"]
    assert f"row 0 has the {name} '{value}' already" in results[1]["error"]
    assert len(api.instances) == 1


def test_a_row_that_was_not_sent_is_not_the_first_of_its_name(api, register):
    bad = [
        {"external_identifier": "t-1", "colour": "red"},
        {"external_identifier": "t-1", "agent_version": {"x": object()}},
        {"external_identifier": "t-1", "idempotency_key": 7},
        {"external_identifier": "t-1", "idempotency_key": "short"},
    ]
    results = register([*bad, {"external_identifier": "t-1"}, {"external_identifier": "t-1"}])
    assert [result["state"] for result in results] == [*["failed"] * 4, "ok", "duplicate"]
    assert results[5]["duplicate_of"] == 4


def test_a_duplicate_of_a_row_that_failed_has_no_id_and_does_not_count_as_failed(register):
    rows = [{"id": "not-an-id"}, *[{"id": "not-an-id"}] * 3, {}]
    results = register(rows, max_failures=2, concurrency=1)
    assert [result["state"] for result in results] == ["failed", *["duplicate"] * 3, "ok"]
    assert {result["id"] for result in results[:4]} == {None}


def test_a_source_of_rows_is_closed(register):
    closed = []

    def rows():
        try:
            yield {"external_identifier": "t-1"}
            yield {"external_identifier": "t-1"}
        finally:
            closed.append(True)

    assert len(register(rows())) == 2
    assert closed == [True]


def test_the_first_row_is_found_among_any_number():
    seen = Duplicates()
    for index in range(20_000):
        assert seen.find(f"name {index}", index, b"%d" % index) is None
    for index in range(20_000):
        first = seen.find(f"name {index}", 99_999, b"%d" % (index // 2 * 2))
        assert (first.index, first.is_same) == (index, index % 2 == 0)


def test_a_remembered_row_takes_less_than_a_hundred_bytes():
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        seen = Duplicates()
        for index in range(20_000):
            seen.find(f"name {index}", index, b"{}")
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 20_000 < 50
    assert (peak - before) / 20_000 < 60
