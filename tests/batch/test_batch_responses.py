"""Responses to a batch, with and without outputs that break the contract."""

from __future__ import annotations

import json

import pytest
from batch_support import (
    SCHEMA,
    VERSION,
    collect,
    failure,
    instance_of,
    items_sent,
    plain,
    success,
)
from raw_server import reply

from prefactor_http import (
    BulkItem,
    PrefactorResponseContractError,
)

OK = {"status": "success", "details": {}}
INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "status": "pending",
    "inserted_at": "2024-05-01T12:00:00Z",
    "updated_at": "2024-05-01T12:00:00Z",
}


@pytest.mark.parametrize("output", [None, [], {}, {"status": "success"}, {"status": "odd"}, 7])
async def test_an_output_that_breaks_the_contract_is_never_a_success(
    raw_server, raw_client, output
):
    item = BulkItem(
        _type="agent_instances/register",
        idempotency_key="key-0000",
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
    )
    raw_server.script(reply(body={"status": "success", "outputs": {"key-0000": output}}))
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.unknown
    assert isinstance(outcome.error, PrefactorResponseContractError)
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("output", [None, [], {}, {"status": "success"}, {"status": "odd"}, 7])
async def test_a_row_whose_output_breaks_the_contract_affects_no_other(
    raw_server, raw_client, output
):
    outputs = {"key-0000": OK | {"details": INSTANCE}, "key-0001": output}
    raw_server.script(reply(body={"status": "success", "outputs": outputs}))
    stream = raw_client.agent_instances.register_many(
        [{"idempotency_key": key} for key in outputs],
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
        ordered=True,
    )
    fine, odd = await collect(stream)
    assert fine.ok
    assert fine.instance.id == INSTANCE["id"]
    assert odd.unknown
    assert isinstance(odd.error, PrefactorResponseContractError)
    assert len(raw_server.requests) == 1


async def test_an_error_output_with_details_is_an_error(raw_server, raw_client):
    refusal = {"status": "error", "code": "validation_errors", "details": INSTANCE}
    raw_server.script(reply(body={"status": "success", "outputs": {"key-0000": refusal}}))
    stream = raw_client.agent_instances.register_many(
        [{"idempotency_key": "key-0000"}], agent_version=VERSION, agent_schema_version=SCHEMA
    )
    (outcome,) = await collect(stream)
    assert outcome.failed
    assert outcome.error.code == "validation_errors"
    assert outcome.output.code == "validation_errors"
    assert outcome.type == "agent_instances/register"


async def test_an_outcome_of_a_stream_has_the_instance_of_its_call(raw_server, raw_client):
    output = OK | {"details": INSTANCE | {"status": "active"}}
    raw_server.script(reply(body={"status": "success", "outputs": {"key-0000": output}}))
    item = BulkItem(
        _type="agent_instances/start", idempotency_key="key-0000", agent_instance_id="i-1"
    )
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.instance.id == INSTANCE["id"]
    assert outcome.output.decode() == outcome.instance
    assert outcome.type == "agent_instances/start"


@pytest.mark.parametrize("body", [b"[]", json.dumps({"status": "success"}).encode()])
async def test_a_response_that_breaks_the_contract_is_repeated_then_unknown(
    raw_server, raw_client, body
):
    raw_server.script(*[reply(body=body)] * 3)
    items = [plain("key-0000"), plain("key-0001")]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    assert [outcome.unknown for outcome in outcomes] == [True, True]
    assert isinstance(outcomes[0].error, PrefactorResponseContractError)
    assert len(raw_server.requests) == 3
    assert len({request.body for request in raw_server.requests}) == 1


async def test_a_response_that_breaks_the_contract_once_costs_no_row(raw_server, raw_client):
    fine = reply(body={"status": "success", "outputs": {"key-0000": OK}})
    raw_server.script(reply(body=b"[]"), fine)
    item = BulkItem(_type="some/thing", idempotency_key="key-0000")
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.ok


async def test_an_item_without_an_output_ahead_of_a_refused_one_may_have_been_applied(
    raw_server, raw_client
):
    moment = "2026-01-01T00:00:00Z"
    items = [
        BulkItem(
            _type="agent_instances/start",
            idempotency_key=f"key-000{number}",
            agent_instance_id=f"i-{number}",
            timestamp=moment,
        )
        for number in range(2)
    ]
    refused = failure("invalid_action")
    raw_server.script(
        reply(200, {"status": "success", "outputs": {"key-0001": refused}}),
        reply(200, {"status": "success", "outputs": {"key-0000": refused}}),
        # So the refusal is verified: the instance has been started as requested.
        reply(200, success(instance_of("i-0", "active", started_at=moment))),
    )
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    assert [outcome.state.value for outcome in outcomes] == ["ok", "failed"]
    first, second, read = raw_server.requests
    assert [len(items_sent(request)) for request in (first, second)] == [2, 1]
    assert (read.method, read.target) == ("GET", "/api/v1/agent_instance/i-0")
