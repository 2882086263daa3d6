"""The bulk endpoint of the local API (contract §9)."""

import pytest

from prefactor_http.testing import TRANSIENT_CODES, IdempotencyPolicy, LocalPrefactor


async def test_items_run_in_order_and_outputs_are_found_by_key(api, call):
    items = [call.item() for _ in range(3)]
    reply = await call.bulk(*items)
    outputs = reply.json["outputs"]
    assert list(outputs) == [item["idempotency_key"] for item in items]
    assert [output["details"]["id"] for output in outputs.values()] == list(api.instances)
    assert [effect.action for effect in api.effects] == ["agent_instances.register"] * 3
    assert all("agent_schema_version" in output for output in outputs.values())


async def test_the_first_error_is_reported_and_ends_the_request(api, call):
    good, bad, tail = call.item(), call.item(agent_id="nobody"), call.item()
    outputs = (await call.bulk(good, bad, tail)).json["outputs"]
    assert list(outputs) == [good["idempotency_key"], bad["idempotency_key"]]
    assert outputs[bad["idempotency_key"]]["code"] == "not_found"
    assert len(api.instances) == 1
    assert [write.idempotency_key for write in api.lost] == [tail["idempotency_key"]]
    await call.bulk(tail)
    assert api.lost == []


async def test_what_was_done_is_replayed(api, call):
    items = [call.item() for _ in range(3)]
    first = await call.bulk(*items)
    again = await call.bulk(*items)
    assert again.json == first.json
    assert (len(api.instances), api.replays, api.doubled) == (3, 3, [])


async def test_a_single_call_and_an_item_share_their_keys(api, call):
    item = call.item()
    first = (await call.bulk(item)).json["outputs"][item["idempotency_key"]]["details"]
    single = {name: value for name, value in item.items() if name != "_type"}
    assert (await call.post("/agent_instance/register", single)).details == first
    assert len(api.instances) == 1


async def test_a_whole_lifecycle_goes_through_one_request(api, call):
    agent = call.item("agents/create", details={"name": "Bulk"})
    outputs = (await call.bulk(agent)).json["outputs"]
    agent_id = outputs[agent["idempotency_key"]]["details"]["id"]
    register = call.item(agent_id=agent_id)
    outputs = (await call.bulk(register)).json["outputs"]
    instance_id = outputs[register["idempotency_key"]]["details"]["id"]
    span = {
        "agent_instance_id": instance_id,
        "schema_name": "llm",
        "status": "active",
        "payload": {},
    }
    steps = [
        call.item("agent_instances/start", agent_instance_id=instance_id),
        call.item("agent_spans/create", details=span),
        call.item("agent_spans/create", **span),
        call.item("agents/update", agent_id=agent_id, name="Bulky"),
        call.item("agent_instances/finish", agent_instance_id=instance_id, status="failed"),
        call.item("agent_instances/show", agent_instance_id=instance_id),
        call.item("agents/show", agent_id=agent_id),
        call.item("agents/list", pagination={"page_size": 1}),
        call.item("agents/retire", agent_id=agent_id),
    ]
    outputs = list((await call.bulk(*steps)).json["outputs"].values())
    assert [output["status"] for output in outputs] == ["success"] * len(steps)
    assert outputs[5]["details"]["status"] == "failed"
    assert outputs[6]["details"]["name"] == "Bulky"
    assert outputs[7]["pagination"]["page_size"] == 1
    assert len(api.spans) == 2
    assert api.stats()["flat_bulk_items"] == 2
    assert api.lost == []


async def test_a_wrong_order_is_refused_in_bulk_too(call):
    item = call.item("agents/list", sorting=5)
    output = (await call.bulk(item)).json["outputs"][item["idempotency_key"]]
    assert output["errors"] == {"sorting": ["must be an object"]}


async def test_span_outputs_carry_the_control_signal(call):
    instance_id = await call.instance("terminated")
    span = {"agent_instance_id": instance_id, "schema_name": "llm"}
    item = call.item("agent_spans/create", details={**span, "status": "active", "payload": {}})
    output = (await call.bulk(item)).json["outputs"][item["idempotency_key"]]
    assert output["control"] == {"terminate": True, "reason": "enough"}


async def test_an_unknown_type_fails_its_item_only(call):
    items = [call.item(), call.item("agents/dance"), call.item()]
    outputs = (await call.bulk(*items)).json["outputs"]
    assert [output.get("code") for output in outputs.values()] == [None, "bad_request"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"items": 1}, 400),
        ({"items": [1]}, 400),
        ({"items": []}, 422),
        ({"items": [{"_type": "agents/list"}]}, 422),
        ({"items": [{"_type": "agents/list", "idempotency_key": "short"}]}, 422),
        ({"items": [{"_type": "agents/list", "idempotency_key": "x" * 65}]}, 422),
        ({"items": [{"_type": "agents/list", "idempotency_key": 12345678}]}, 422),
        ({"items": [{"_type": "agents/list", "idempotency_key": "with blank"}]}, 422),
        ({"items": [{"idempotency_key": "long-enough"}]}, 422),
        ({"items": [{"_type": "agents/list", "idempotency_key": "long-enough"}] * 2}, 422),
    ],
)
async def test_a_request_that_is_wrong_as_a_whole_runs_nothing(api, call, body, status):
    reply = await call.post("/bulk", body)
    assert reply.status == status
    assert not api.effects
    assert not api.lost


async def test_bulk_keys_may_be_longer_where_the_server_is_newer(api, call):
    api.policy = IdempotencyPolicy(longest_bulk_key=128)
    reply = await call.bulk(call.item(idempotency_key="x" * 128))
    assert reply.json["outputs"]["x" * 128]["status"] == "success"


async def test_a_deployment_token_lists_nothing_in_bulk_either(api, call):
    item = call.item("agents/list")
    outputs = (await call.bulk(item, token=api.deployment_token)).json["outputs"]
    assert outputs[item["idempotency_key"]]["code"] == "bad_authtoken"


async def test_the_largest_request_is_remembered(api, call):
    await call.bulk(*[call.item() for _ in range(7)])
    await call.bulk(call.item())
    assert api.stats()["largest_bulk"] == 7


async def test_scripted_items_fail_for_a_while(api, call):
    items = [call.item() for _ in range(3)]
    api.fail_next_item("rate_limited", key=items[1]["idempotency_key"])
    outputs = (await call.bulk(*items)).json["outputs"]
    assert [output.get("code") for output in outputs.values()] == [None, "rate_limited"]
    assert len(api.lost) == 2
    outputs = (await call.bulk(*items)).json["outputs"]
    assert [output["status"] for output in outputs.values()] == ["success"] * 3
    assert (api.lost, api.doubled) == ([], [])


async def test_only_transient_errors_can_be_scripted(api):
    with pytest.raises(ValueError, match="must be one of"):
        api.fail_next_item("not_found")
    with pytest.raises(ValueError, match="between 0 and 1"):
        LocalPrefactor(item_faults=2)


async def test_items_fail_at_random_until_calmed(session, call):
    async with LocalPrefactor(item_faults=1.0, seed=3) as api:
        other = type(call)(api, session)
        item = other.item()
        for _ in range(5):
            (output,) = (await other.bulk(item)).json["outputs"].values()
            assert output["code"] in TRANSIENT_CODES
        api.calm()
        (output,) = (await other.bulk(item)).json["outputs"].values()
        assert output["status"] == "success"
