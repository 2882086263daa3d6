"""Outcomes of single items: invalid, refused, blocked, and without output."""

from __future__ import annotations

import asyncio

import pytest
from batch_support import (
    assert_nothing_doubled_or_lost,
    bulk_requests,
    collect,
    collect_until_error,
    indexes,
    items_sent,
    plain,
    register,
    registration,
    rows,
)
from raw_server import reply

from prefactor_http import (
    PrefactorApiError,
    PrefactorClientError,
    PrefactorResponseContractError,
    PrefactorValidationError,
)
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.testing import Fault, FaultKind

OK = {"status": "success", "details": {}}


def recursive_payload() -> dict[str, object]:
    row: dict[str, object] = {}
    row["agent_version"] = row
    return row


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"external_id": "x"}, "unknown field 'external_id'; allowed are agent_id"),
        ("a text", "a row must be a dict or RegisterAgentInstanceRequest, not str"),
        ({"external_identifier": object()}, "must be a str, not object"),
        ({"agent_version": {"a": object()}}, "agent_version.a is of type object"),
        ({"external_identifier": "\ud800"}, "external_identifier must be Unicode text"),
        ({"idempotency_key": "short"}, "8 to 64 characters"),
        ({"idempotency_key": 12345678}, "must be a str"),
        (recursive_payload(), "refers to itself"),
    ],
)
async def test_a_row_that_cannot_be_sent_fails_alone(api, client, row, problem):
    source = [{"external_identifier": "before"}, row, {"external_identifier": "after"}]
    outcomes = await collect(register(client, api, source, ordered=True))
    assert [outcome.state.value for outcome in outcomes] == ["ok", "failed", "ok"]
    assert problem in str(outcomes[1].error)
    assert outcomes[1].output is outcomes[1].instance is outcomes[1].idempotency_key is None
    assert len(api.instances) == 2


async def test_a_row_without_a_version_fails(api, client):
    stream = client.agent_instances.register_many([{"external_identifier": "x"}])
    (outcome,) = await collect(stream)
    assert outcome.failed
    assert "neither have the arguments" in str(outcome.error)
    assert outcome.idempotency_key is not None
    assert api.requests == []


async def test_an_item_that_is_not_a_bulk_item_fails(api, client):
    outcomes = await collect(client.bulk.stream([{"_type": "x"}, registration(api)], ordered=True))
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert "must be a BulkItem, not dict" in str(outcomes[0].error)
    assert outcomes[0].idempotency_key is None


async def test_a_refused_item_has_its_error_and_its_output(api, client):
    outcomes = await collect(register(client, api, [{"purpose": "none"}, *rows(1)], ordered=True))
    failed, fine = outcomes
    assert fine.ok
    assert isinstance(failed.error, PrefactorValidationError)
    assert failed.error.idempotency_key == failed.idempotency_key
    assert failed.output.code == "validation_errors"


async def test_one_bad_row_in_ten_costs_few_requests(api, client):
    def source():
        for number, row in enumerate(rows(2000)):
            yield {**row, "purpose": "none"} if number % 10 == 5 else row

    outcomes = await collect(register(client, api, source()))
    assert indexes(outcomes) == list(range(2000))
    assert sum(outcome.failed for outcome in outcomes) == 200
    requests = bulk_requests(api)
    # Each bad row ends a request. With chunks of 100, most rows would be sent 50 times.
    assert len(requests) <= 2 * 200
    assert sum(len(items_sent(request)) for request in requests) <= 4 * 2000
    assert_nothing_doubled_or_lost(api)


@pytest.mark.parametrize(
    "code",
    ["rate_limited", "internal_server_error", "service_unavailable", "idempotency_in_progress"],
)
async def test_an_item_with_a_transient_error_is_sent_again(api, client, code):
    api.fail_next_item(code, code)
    outcomes = await collect(register(client, api, rows(5)))
    assert indexes(outcomes) == list(range(5))
    assert all(outcome.ok for outcome in outcomes)
    assert_nothing_doubled_or_lost(api)


@pytest.mark.parametrize(
    ("code", "state"), [("rate_limited", "failed"), ("idempotency_in_progress", "unknown")]
)
async def test_an_item_with_transient_errors_for_longer_than_max_outage_ends(
    api, client, code, state
):
    api.fail_next_item(code, key="unlucky-1")
    items = [registration(api, "unlucky-1"), registration(api, "the-next")]
    outcomes = await collect(client.bulk.stream(items, max_outage=0, ordered=True))
    assert [outcome.state.value for outcome in outcomes] == [state, "ok"]
    assert outcomes[0].error.code == code


async def test_a_failed_item_blocks_only_its_own_group(api, client):
    names = ("a-0", "b-0", "a-1", "b-1", "a-2", "b-2")
    purposes = {"a-1": "none"}
    items = [
        registration(api, f"row-{name}!", purpose=purposes.get(name, "live")) for name in names
    ]
    stream = client.bulk.stream(items, group=lambda item: item.idempotency_key[4], chunk_size=2)
    by_key = {outcome.idempotency_key[4:7]: outcome for outcome in await collect(stream)}
    assert {key: outcome.state.value for key, outcome in by_key.items()} == {
        "a-0": "ok",
        "a-1": "failed",
        "a-2": "blocked",
        "b-0": "ok",
        "b-1": "ok",
        "b-2": "ok",
    }
    assert by_key["a-2"].blocked
    assert "an earlier item of its group" in str(by_key["a-2"].error)


async def test_a_row_that_cannot_be_sent_blocks_only_later_rows_of_its_group(api, client):
    source = [
        {"external_identifier": "1", "agent_id": api.agent_id},
        {"external_identifier": object(), "agent_id": api.agent_id},
        {"external_identifier": "3", "agent_id": api.agent_id},
        {"external_identifier": "4", "agent_id": None},
    ]
    stream = register(client, api, source, group="agent_id", ordered=True)
    states = [outcome.state.value for outcome in await collect(stream)]
    assert states == ["ok", "failed", "blocked", "ok"]


async def test_an_item_whose_group_is_missing_or_not_hashable_fails(api, client):
    fine = {"external_identifier": "x", "idempotency_key": "12345678"}
    for group, problem in [
        ("purpose", "no purpose to group by"),
        (lambda row: [row], "unhashable"),
        (lambda row: row["nothing"], "nothing"),
    ]:
        (outcome,) = await collect(register(client, api, [fine], group=group))
        assert outcome.failed
        assert problem in str(outcome.error)
    (outcome,) = await collect(client.bulk.stream([registration(api)], group="agent_id"))
    assert outcome.ok


async def test_rows_that_are_requests_can_be_grouped_by_a_field(api, client):
    row = RegisterAgentInstanceRequest(agent_id=api.agent_id, external_identifier="typed")
    outcomes = await collect(
        register(client, api, [row, RegisterAgentInstanceRequest()], group="external_identifier")
    )
    assert [outcome.ok for outcome in sorted(outcomes, key=lambda o: o.index)] == [True, False]


async def test_a_second_transient_error_in_one_response_is_retried_too(raw_server, raw_client):
    busy = {"status": "error", "code": "rate_limited", "message": "Later."}
    for outputs in (
        {"key-0000": busy, "key-0001": busy},
        {"key-0001": {"status": "success"}},
        {"key-0000": {"status": "success"}},
    ):
        raw_server.script(reply(body={"status": "success", "outputs": outputs}))
    items = [plain("key-0000"), plain("key-0001")]
    outcomes = await collect(raw_client.bulk.stream(items, concurrency=1, ordered=True))
    assert [outcome.ok for outcome in outcomes] == [True, True]


async def test_no_group_is_in_two_requests_at_once(api, client):
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    source = [{**row, "agent_id": api.agent_id} for row in rows(90)]
    stream = register(client, api, source, group="agent_id", chunk_size=10, concurrency=4)
    task = asyncio.create_task(collect(stream))
    await asyncio.sleep(0.1)
    assert len(api.requests) == 1
    assert all(outcome.ok for outcome in await task)
    names = [instance["external_identifier"] for instance in api.instances.values()]
    assert names == [f"row-{number}" for number in range(90)]


async def test_ordered_outcomes_come_in_the_order_of_the_source(api, client):
    api.fail_next_item("rate_limited", "rate_limited")
    outcomes = await collect(register(client, api, rows(300), chunk_size=10, ordered=True))
    assert [outcome.index for outcome in outcomes] == list(range(300))


async def test_max_failures_ends_the_run_with_an_outcome_for_each_pulled_row(api, client):
    pulled = 0

    def source():
        nonlocal pulled
        for row in rows(100_000, purpose="none"):
            pulled += 1
            yield row

    stream = register(client, api, source(), max_failures=3, chunk_size=5, concurrency=2)
    outcomes, error = await collect_until_error(stream, PrefactorClientError)
    assert "after 3 failures" in str(error)
    assert indexes(outcomes) == list(range(pulled))
    assert pulled < 100
    refused = [outcome for outcome in outcomes if isinstance(outcome.error, PrefactorApiError)]
    assert 3 <= len(refused) <= 5
    assert all("not sent" in str(o.error) for o in outcomes if o not in refused)


async def test_an_item_without_output_is_never_a_success(raw_server, raw_client):
    lacking = reply(body={"status": "success", "outputs": {"key-0000": OK}})
    raw_server.script(*[lacking] * 4)
    items = [plain("key-0000"), plain("key-0001")]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    assert [outcome.state.value for outcome in outcomes] == ["ok", "unknown"]
    assert isinstance(outcomes[1].error, PrefactorResponseContractError)
    assert "has no output" in str(outcomes[1].error)
    assert len(raw_server.requests) == 4 - 1  # one with both items, two with the missing one
    assert [item["idempotency_key"] for item in raw_server.requests[-1].json["items"]] == [
        "key-0001"
    ]


async def test_outputs_are_matched_by_key_and_unknown_keys_are_ignored(raw_server, raw_client):
    bad = {"status": "error", "code": "not_found", "message": "No such agent."}
    outputs = {"unknown-key": OK, "key-0001": bad, "key-0000": OK}
    raw_server.script(reply(body={"status": "success", "outputs": outputs}))
    items = [plain("key-0000"), plain("key-0001")]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    assert [outcome.state.value for outcome in outcomes] == ["ok", "failed"]
    assert outcomes[1].error.status_code == 404
