"""The bulk endpoint of the local API (contract §9)."""

import pytest
from plain_caller import Caller

from prefactor_http.testing import TRANSIENT_CODES, IdempotencyPolicy, LocalPrefactor


async def test_items_run_in_order_and_outputs_are_keyed(api, caller):
    items = [caller.item() for _ in range(3)]
    response = await caller.bulk(*items)
    outputs = response.json["outputs"]
    assert list(outputs) == [item["idempotency_key"] for item in items]
    assert [output["details"]["id"] for output in outputs.values()] == list(api.instances)
    assert [effect.action for effect in api.effects] == ["agent_instances.register"] * 3
    assert all("agent_schema_version" in output for output in outputs.values())


async def test_the_first_error_is_reported_and_stops_the_request(api, caller):
    good, bad, tail = caller.item(), caller.item(agent_id="unknown"), caller.item()
    outputs = (await caller.bulk(good, bad, tail)).json["outputs"]
    assert list(outputs) == [good["idempotency_key"], bad["idempotency_key"]]
    assert outputs[bad["idempotency_key"]]["code"] == "not_found"
    assert len(api.instances) == 1
    assert [write.idempotency_key for write in api.lost] == [tail["idempotency_key"]]
    await caller.bulk(tail)
    assert api.lost == []


async def test_repeated_items_are_replayed(api, caller):
    items = [caller.item() for _ in range(3)]
    first = await caller.bulk(*items)
    again = await caller.bulk(*items)
    assert again.json == first.json
    assert (len(api.instances), api.replays, api.doubled) == (3, 3, [])


async def test_single_calls_and_items_share_the_key_store(api, caller):
    item = caller.item()
    first = (await caller.bulk(item)).json["outputs"][item["idempotency_key"]]["details"]
    single = {name: value for name, value in item.items() if name != "_type"}
    assert (await caller.post("/agent_instance/register", single)).details == first
    assert len(api.instances) == 1


async def test_a_whole_lifecycle_can_be_one_request(api, caller):
    agent = caller.item("agents/create", details={"name": "Bulk"})
    outputs = (await caller.bulk(agent)).json["outputs"]
    agent_id = outputs[agent["idempotency_key"]]["details"]["id"]
    register = caller.item(agent_id=agent_id)
    outputs = (await caller.bulk(register)).json["outputs"]
    instance_id = outputs[register["idempotency_key"]]["details"]["id"]
    span = {
        "agent_instance_id": instance_id,
        "schema_name": "llm",
        "status": "active",
        "payload": {},
    }
    steps = [
        caller.item("agent_instances/start", agent_instance_id=instance_id),
        caller.item("agent_spans/create", details=span),
        caller.item("agent_spans/create", **span),
        caller.item("agents/update", agent_id=agent_id, name="Bulky"),
        caller.item("agent_instances/finish", agent_instance_id=instance_id, status="failed"),
        caller.item("agent_instances/show", agent_instance_id=instance_id),
        caller.item("agents/show", agent_id=agent_id),
        caller.item("agents/list", pagination={"page_size": 1}),
        caller.item("agents/retire", agent_id=agent_id),
    ]
    outputs = list((await caller.bulk(*steps)).json["outputs"].values())
    assert [output["status"] for output in outputs] == ["success"] * len(steps)
    assert outputs[5]["details"]["status"] == "failed"
    assert outputs[6]["details"]["name"] == "Bulky"
    assert outputs[7]["pagination"]["page_size"] == 1
    assert len(api.spans) == 2
    assert api.stats()["flat_bulk_items"] == 2
    assert api.lost == []


async def test_invalid_sorting_is_refused_in_bulk_too(caller):
    item = caller.item("agents/list", sorting=5)
    output = (await caller.bulk(item)).json["outputs"][item["idempotency_key"]]
    assert output["errors"] == {"sorting": ["must be an object"]}


async def test_span_outputs_have_the_control_signal(caller):
    instance_id = await caller.instance("terminated")
    span = {"agent_instance_id": instance_id, "schema_name": "llm"}
    item = caller.item("agent_spans/create", details={**span, "status": "active", "payload": {}})
    output = (await caller.bulk(item)).json["outputs"][item["idempotency_key"]]
    assert output["control"] == {"terminate": True, "reason": "enough"}


async def test_an_unknown_type_is_an_error_of_its_item(caller):
    items = [caller.item(), caller.item("agents/dance"), caller.item()]
    outputs = (await caller.bulk(*items)).json["outputs"]
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
async def test_an_invalid_request_runs_no_items(api, caller, body, status):
    response = await caller.post("/bulk", body)
    assert response.status == status
    assert not api.effects
    assert not api.lost


async def test_the_maximum_length_of_bulk_keys_is_configurable(api, caller):
    api.policy = IdempotencyPolicy(longest_bulk_key=128)
    response = await caller.bulk(caller.item(idempotency_key="x" * 128))
    assert response.json["outputs"]["x" * 128]["status"] == "success"


async def test_a_deployment_token_cannot_list_in_bulk_either(api, caller):
    item = caller.item("agents/list")
    outputs = (await caller.bulk(item, token=api.deployment_token)).json["outputs"]
    assert outputs[item["idempotency_key"]]["code"] == "bad_authtoken"


async def test_stats_have_the_size_of_the_largest_bulk_request(api, caller):
    await caller.bulk(*[caller.item() for _ in range(7)])
    await caller.bulk(caller.item())
    assert api.stats()["largest_bulk"] == 7


async def test_a_scripted_item_error_is_transient(api, caller):
    items = [caller.item() for _ in range(3)]
    api.fail_next_item("rate_limited", key=items[1]["idempotency_key"])
    outputs = (await caller.bulk(*items)).json["outputs"]
    assert [output.get("code") for output in outputs.values()] == [None, "rate_limited"]
    assert len(api.lost) == 2
    outputs = (await caller.bulk(*items)).json["outputs"]
    assert [output["status"] for output in outputs.values()] == ["success"] * 3
    assert (api.lost, api.doubled) == ([], [])


async def test_only_transient_errors_can_be_scripted(api):
    with pytest.raises(ValueError, match="must be one of"):
        api.fail_next_item("not_found")
    with pytest.raises(ValueError, match="between 0 and 1"):
        LocalPrefactor(item_faults=2)


async def test_random_item_errors_stop_after_calm(session):
    async with LocalPrefactor(item_faults=1.0, seed=3) as api:
        other = Caller(api, session)
        item = other.item()
        for _ in range(5):
            (output,) = (await other.bulk(item)).json["outputs"].values()
            assert output["code"] in TRANSIENT_CODES
        api.calm()
        (output,) = (await other.bulk(item)).json["outputs"].values()
        assert output["status"] == "success"
