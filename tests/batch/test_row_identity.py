"""What identifies a row of a job, on every run and on every machine."""

import asyncio
import collections
import csv
import enum
import io
import json
import os
import subprocess
import sys

import msgspec
import numpy as np
import pandas as pd
import pytest
from batch_support import SCHEMA, VERSION, collect, items_sent, register
from msgspec import UNSET

from prefactor_http import BulkItem, HttpClientConfig, PrefactorHttpClient
from prefactor_http.batch import register_partition
from prefactor_http.idempotency import derive_key, new_id
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.testing import LocalPrefactor, serving

MISSING = [None, UNSET, "", " ", "\t\n", "\u2003", float("nan"), np.float64("nan"), pd.NA, pd.NaT]


class Name(str):  # noqa: SLOT000 # as users write it
    pass


class Colour(enum.Enum):
    RED = "red"


class Fields(dict):
    pass


def keys(outcomes):
    return [outcome.idempotency_key for outcome in outcomes]


async def run(api, client, source, **options):
    return await collect(register(client, api, source, ordered=True, **options))


@pytest.mark.parametrize("field", ["external_identifier", "id"])
@pytest.mark.parametrize("missing", MISSING, ids=repr)
async def test_a_missing_name_identifies_no_row_and_is_not_sent(api, client, field, missing):
    source = [{field: missing, "purpose": "live"} for _ in range(3)]
    outcomes = await run(api, client, source, job="j")
    assert [outcome.state.value for outcome in outcomes] == ["ok"] * 3
    assert len(set(keys(outcomes))) == len(api.instances) == 3
    assert keys(outcomes) == keys(await run(api, client, [{"purpose": "live"}] * 3, job="j"))
    assert all(field not in item for item in items_sent(api.requests[-1]))


async def test_rows_of_csv_and_pandas_with_missing_values_are_registered(api, client):
    text = "external_identifier,purpose,agent_id\nA,live,\n,live,\n,,\nB,eval,\n"
    rows = list(csv.DictReader(io.StringIO(text)))
    frame = pd.read_csv(io.StringIO(text.replace("A", "C").replace("B", "D")))
    for source in (rows, frame.to_dict("records")):
        outcomes = await run(api, client, source, job="csv")
        assert [outcome.state.value for outcome in outcomes] == ["ok"] * 4
    names = {instance["external_identifier"] for instance in api.instances.values()}
    assert names == {"A", "B", "C", "D", None}


async def test_missing_fields_of_a_row_come_from_the_arguments(api, client):
    source = [{"agent_id": None, "purpose": float("nan"), "update_current_version": None}]
    source += [{"agent_version": None, "idempotency_key": None, "environment_id": ""}]
    outcomes = await run(api, client, source, job="j")
    assert [outcome.state.value for outcome in outcomes] == ["ok"] * 2
    assert [instance["agent_id"] for instance in api.instances.values()] == [api.agent_id] * 2


@pytest.mark.parametrize("field", ["id", "external_identifier", "agent_id", "environment_id"])
@pytest.mark.parametrize(
    "value", [1, 1.5, True, b"a", ["a"], {"a": 1}, object()], ids=lambda v: type(v).__name__
)
async def test_ids_and_names_must_be_text(api, client, field, value):
    (outcome,) = await run(api, client, [{field: value}], job="j")
    assert outcome.failed
    assert str(outcome.error) == f"{field} must be a str, not {type(value).__name__}"
    assert api.requests == []


@pytest.mark.parametrize("name", ["t-1", " t-1", "t-1\n", Name("t-1"), np.str_(" t-1 ")], ids=repr)
async def test_a_name_is_stripped_and_can_be_a_subclass_of_str(api, client, name):
    outcomes = await run(api, client, [{"external_identifier": name}], job="j")
    assert keys(outcomes) == [derive_key("register", "j", "external_identifier", "t-1")]
    assert items_sent(api.requests[-1])[0]["external_identifier"] == "t-1"
    assert len(api.instances) == 1


async def test_a_name_can_be_an_enum_member_and_a_row_any_dict(api, client):
    row = Fields(external_identifier=Colour.RED, purpose=Name("live"))
    (outcome,) = await run(api, client, [row], job=Colour.RED)
    assert outcome.idempotency_key == derive_key("register", "red", "external_identifier", "red")
    assert outcome.instance.external_identifier == "red"


async def test_a_source_can_reuse_one_dict_for_all_rows(api, client):
    row = {}

    def source():
        for number in range(250):
            row["external_identifier"] = f"row-{number}"
            yield row

    outcomes = await run(api, client, source(), job="j")
    assert [outcome.instance.external_identifier for outcome in outcomes] == [
        f"row-{number}" for number in range(250)
    ]


@pytest.mark.parametrize("job", ["", " ", "\n"])
async def test_a_blank_job_raises_immediately(raw_server, raw_client, job):
    with pytest.raises(ValueError, match="job must not be blank"):
        raw_client.agent_instances.register_many([{}], job=job)
    with pytest.raises(ValueError, match="job must not be blank"):
        register_partition([{}], job=job, partition=1)
    with pytest.raises(ValueError, match="partition must not be blank"):
        register_partition([{}], job="j", partition=job)
    assert raw_server.requests == []


@pytest.mark.parametrize("job", [1, float("nan"), b"j"], ids=repr)
async def test_a_job_must_be_text(raw_client, job):
    with pytest.raises(TypeError, match="job must be a str, not"):
        raw_client.agent_instances.register_many([{}], job=job)


SAME_CONTENT = [
    {"purpose": "live", "update_current_version": True, "agent_version": VERSION},
    {
        "agent_version": dict(reversed(VERSION.items())),
        "update_current_version": True,
        "purpose": "live",
    },
    collections.OrderedDict(update_current_version=True, purpose="live", agent_version=VERSION),
    {
        "purpose": np.str_("live"),
        "update_current_version": np.bool_(True),
        "agent_version": VERSION,
    },
    {"purpose": "live", "update_current_version": True, "agent_version": VERSION, "id": None},
    RegisterAgentInstanceRequest(
        agent_version=VERSION, purpose="live", update_current_version=True
    ),
    RegisterAgentInstanceRequest(
        agent_version=msgspec.Raw(json.dumps(VERSION).encode()),
        purpose="live",
        update_current_version=True,
    ),
]


@pytest.mark.parametrize("row", SAME_CONTENT, ids=range(len(SAME_CONTENT)))
async def test_equal_content_has_the_same_key(api, client, row):
    (first,) = keys(await run(api, client, [SAME_CONTENT[0]], job="j"))
    (outcome,) = await run(api, client, [row], job="j")
    assert (outcome.idempotency_key, outcome.state.value) == (first, "ok")
    assert len(api.instances) == 1


MIXED = {1, "b", None, 2.5, (1, 2)}


@pytest.mark.parametrize(
    "content",
    [
        {"runtime_environment": {"agent_sdk": {"a", "b", "c"}}},
        {"x": frozenset({3, 1, 2})},
        {"x": [{"y": MIXED, 1: {None: {"b", "a"}}}]},
        {"x": ({"b": {Colour.RED, Name("green")}}, RegisterAgentInstanceRequest(id="1"))},
    ],
    ids=range(4),
)
async def test_a_set_has_the_same_order_in_the_key_and_in_the_request(api, client, content):
    row = {"agent_version": {**VERSION, **content}}
    rebuilt = {"agent_version": {**content, **VERSION}}
    first = await run(api, client, [row], job="j")
    assert keys(first) == keys(await run(api, client, [rebuilt], job="j"))
    assert [outcome.state.value for outcome in first] == ["ok"]
    assert len({request.body for request in api.requests}) == 1
    assert api.keys_reused == []


async def test_other_content_or_another_position_has_another_key(api, client):
    rows = [{"purpose": "live"}, {"purpose": "live"}, {"purpose": "eval"}, {}]
    outcomes = await run(api, client, rows, job="j")
    outcomes += await run(api, client, rows, job="k")
    assert len(set(keys(outcomes))) == 8


SCRIPT = """
import asyncio, sys
from prefactor_http import HttpClientConfig, PrefactorHttpClient

async def main(url, token, order):
    tags = {"alpha@1", "beta@2", "gamma@3", "delta@4"}
    version = {"external_identifier": "v1", "runtime_environment": {"agent_sdk": tags}}
    fields = [("purpose", "live"), ("update_current_version", True)]
    mixed = {**version, "mixed": {"alpha", 5, None, "beta", 2.5, "gamma"}}
    rows = [{"agent_version": mixed}, dict(fields if order == "a" else fields[::-1])]
    rows.append({"external_identifier": "named"})
    async with PrefactorHttpClient(HttpClientConfig(url, token)) as client:
        async for outcome in client.agent_instances.register_many(
            rows, job="nightly", agent_version=version, ordered=True,
            agent_schema_version={"external_identifier": "s1", "span_type_schemas": []},
        ):
            print(outcome.state.value, outcome.idempotency_key)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_job_has_the_same_keys_and_requests_in_every_process():
    with serving(LocalPrefactor()) as api:
        printed = {
            subprocess.run(
                [sys.executable, "-c", SCRIPT, api.url, api.deployment_token, order],
                env={**os.environ, "PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for seed, order in (("1", "a"), ("2", "b"), ("3", "a"))
        }
        assert len(printed) == 1
        assert printed.pop().count("ok ") == len(api.instances) == 3
        assert api.keys_reused == []


async def test_the_second_row_with_a_name_gets_the_instance_of_the_first(api, client):
    rows = [{"external_identifier": "t-1"}] * 2 + [
        {"external_identifier": "t-1", "purpose": "eval"}
    ]
    outcomes = await run(api, client, rows, job="j")
    assert [outcome.state.value for outcome in outcomes] == ["ok", "ok", "failed"]
    assert len(set(keys(outcomes))) == len(api.instances) == 1


async def test_a_partition_and_a_job_derive_the_same_key_from_a_name(api, client):
    row = {"external_identifier": " t-1 "}
    (outcome,) = await run(api, client, [row], job="j")
    (result,) = await _partition(api, [row])
    assert result["idempotency_key"] == outcome.idempotency_key


async def _partition(api, rows):
    return await asyncio.to_thread(
        register_partition,
        rows,
        job="j",
        partition=np.int64(1),
        config=HttpClientConfig(api.url, api.deployment_token),
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
    )


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"agent_version": {"external_identifier": float("nan")}}, "n.external_identifier"),
        ({"agent_schema_version": {"span_type_schemas": [{"name": float("nan")}]}}, "[0].name"),
    ],
    ids=["version", "schema"],
)
async def test_a_name_inside_a_row_must_not_be_nan(api, client, row, place):
    (outcome,) = await run(api, client, [row])
    assert outcome.failed
    assert f"{place} must not be NaN or infinite" in str(outcome.error)
    with pytest.raises(ValueError, match="must not be NaN or infinite"):
        register(client, api, [], **row)


async def test_nan_inside_many_rows_is_reported_once(api, client, caplog):
    rows = [{"agent_version": {**VERSION, "share": float("nan")}} for _ in range(3)]
    outcomes = await run(api, client, rows)
    assert [outcome.state.value for outcome in outcomes] == ["ok"] * 3
    (record,) = (record for record in caplog.records if "neither NaN" in record.getMessage())
    assert record.getMessage() == (
        "register_many: row 0, and perhaps later ones: sent as null, because JSON has neither NaN "
        "nor infinity: agent_version.share"
    )


async def test_an_argument_without_a_json_form_raises_immediately(api, client):
    with pytest.raises(TypeError, match=r"agent_version\.x is of type object"):
        register(client, api, [], agent_version={"x": object()})


async def test_nan_is_not_a_group(api, client):
    rows = [{"purpose": "eval", "external_identifier": object()}, {"purpose": "eval"}]
    nan = float("nan")
    rows = [{**row, "agent_id": nan} for row in rows]
    outcomes = await run(api, client, rows, group="agent_id")
    assert [outcome.state.value for outcome in outcomes] == ["failed", "ok"]


async def test_ids_of_bulk_items_can_be_subclasses_of_str(api, client):
    pfid = new_id(api.agent_id)
    async with PrefactorHttpClient(HttpClientConfig(api.url, api.deployment_token)) as bulk:
        items = [
            BulkItem(
                _type="agent_instances/register",
                idempotency_key="key-0001",
                id=Name(pfid),
                agent_version=VERSION,
                agent_schema_version=SCHEMA,
            ),
            BulkItem(
                _type="agent_instances/start",
                idempotency_key="key-0002",
                agent_instance_id=np.str_(pfid),
            ),
        ]
        outcomes = await collect(bulk.bulk.stream(items, group=lambda _: "one", ordered=True))
    assert [outcome.state.value for outcome in outcomes] == ["ok", "ok"]
    assert api.instances[pfid]["status"] == "active"
