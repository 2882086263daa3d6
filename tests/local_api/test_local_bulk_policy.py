"""The switches for bulk requests at the local API (contract §9)."""

import pytest
from plain_caller import Caller

from prefactor_http.testing import BulkPolicy, LocalPrefactor, OnUnknownType, RateLimit

START = "agent_instances/start"


async def start_item(caller):
    return caller.item(START, agent_instance_id=await caller.instance())


async def test_a_type_of_an_existing_call_can_be_unknown_to_bulk(api, caller):
    api.bulk_policy = BulkPolicy(unknown_types=frozenset({START}))
    start = await start_item(caller)
    registrations = [caller.item(), caller.item()]
    response = await caller.bulk(registrations[0], start, registrations[1])
    assert response.status == 200
    codes = [output.get("code") for output in response.json["outputs"].values()]
    assert codes == [None, "bad_request"]
    body = {"idempotency_key": start["idempotency_key"]}
    path = f"/agent_instance/{start['agent_instance_id']}/start"
    assert (await caller.post(path, body)).status == 200
    assert [write.idempotency_key for write in api.lost] == [registrations[1]["idempotency_key"]]


@pytest.mark.parametrize("unknown", [START, "agents/dance"])
async def test_an_unknown_type_can_fail_the_whole_request(session, unknown):
    policy = BulkPolicy(
        unknown_types=frozenset({START}), on_unknown_type=OnUnknownType.REQUEST_ERROR
    )
    async with LocalPrefactor(bulk_policy=policy) as api:
        caller = Caller(api, session)
        item = caller.item()
        response = await caller.bulk(item, caller.item(unknown))
        assert (response.status, response.code) == (400, "bad_request")
        assert not api.effects
        assert (await caller.bulk(item)).json["outputs"][item["idempotency_key"]]["details"]
        assert api.lost == []


async def test_outputs_can_lack_the_control_signal_that_single_calls_have(api, caller):
    instance_id = await caller.instance("terminated")
    span = {"agent_instance_id": instance_id, "schema_name": "llm"}
    item = caller.item("agent_spans/create", details={**span, "status": "active", "payload": {}})
    assert api.bulk_policy == BulkPolicy()
    api.bulk_policy = BulkPolicy(has_control=False)
    (output,) = (await caller.bulk(item)).json["outputs"].values()
    assert output["status"] == "success"
    assert "control" not in output
    finish = {"idempotency_key": caller.key()}
    finished = await caller.post(f"/agent_spans/{output['details']['id']}/finish", finish)
    assert finished.json["control"] == {"terminate": True, "reason": "enough"}


async def test_a_request_with_too_many_items_runs_none(session):
    async with LocalPrefactor(bulk_policy=BulkPolicy(max_items=3)) as api:
        caller = Caller(api, session)
        items = [caller.item() for _ in range(4)]
        response = await caller.bulk(*items)
        assert (response.status, response.code) == (422, "validation_errors")
        assert response.json["errors"] == {"items": ["must have at most 3 items"]}
        assert not api.effects
        assert len((await caller.bulk(*items[:3])).json["outputs"]) == 3
        assert api.lost == []


async def test_a_rate_limit_counts_a_bulk_request_as_one(session):
    from_idle = 2
    limit = RateLimit(0.01, burst=from_idle)
    async with LocalPrefactor(rate_limit=limit) as api:
        caller = Caller(api, session)
        for _ in range(from_idle):
            assert (await caller.bulk(*[caller.item() for _ in range(10)])).status == 200
        assert (await caller.bulk(caller.item())).status == 429
        assert len(api.effects) == 20
