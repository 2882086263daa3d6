"""Agents of the local API (contract §11)."""

import pytest

from prefactor_http import _pfid


async def create(call, **fields):
    body = {"details": {"name": "Agent", **fields}, "idempotency_key": call.key()}
    return await call.post("/agent", body)


async def test_an_agent_is_created_read_and_listed(api, call):
    agent = (await create(call, description="Does things", external_identifier="ext")).details
    assert agent["status"] == "pending"
    assert agent["available_actions"] == {
        "update": True,
        "retire": True,
        "reinstate": False,
        "delete": True,
    }
    assert (await call.get(f"/agent/{agent['id']}")).details == agent
    by_name = await call.get("/agent/show", params={"external_identifier": "ext"})
    assert by_name.details == agent
    assert (await call.get("/agent/show", params={"agent_id": agent["id"]})).details == agent
    listed = (await call.get("/agent")).json["summaries"]
    assert [row["id"] for row in listed] == [api.agent_id, agent["id"]]
    assert "risk_profile_id" not in listed[0]
    assert set(api.agents) == {api.agent_id, agent["id"]}


async def test_show_takes_exactly_one_of_two_ids(call):
    assert (await call.get("/agent/show")).status == 422
    both = {"agent_id": "a", "external_identifier": "b"}
    assert (await call.get("/agent/show", params=both)).status == 422
    assert (await call.get("/agent/show", params={"external_identifier": "b"})).status == 404


async def test_names_and_ids_of_agents_are_checked(api, call):
    assert (await create(call, name="")).status == 422
    assert (await call.post("/agent", {"name": "unwrapped"})).status == 422
    assert (await create(call, id="mine")).status == 422
    chosen = _pfid.generate(_pfid.partition_of(api.account_id))
    assert (await create(call, id=chosen, external_identifier="ext")).details["id"] == chosen
    assert list((await create(call, external_identifier="ext")).json["errors"]) == [
        "details.external_identifier"
    ]


async def test_an_update_keeps_what_it_leaves_out_and_null_clears(call):
    agent = (await create(call, description="old", team_id="team")).details
    path = f"/agent/{agent['id']}"
    changed = await call.send("PUT", path, json={"details": {"name": "New", "team_id": None}})
    assert changed.details["name"] == "New"
    assert changed.details["description"] == "old"
    assert changed.details["team_id"] is None
    assert (await call.send("PUT", path, json={"details": {"name": None}})).status == 422
    kept = await call.send("PUT", path, json={"details": {"description": "new"}})
    assert (kept.details["name"], kept.details["description"]) == ("New", "new")


async def test_a_retired_agent_registers_nothing_until_it_is_reinstated(api, call):
    path = f"/agent/{api.agent_id}"
    assert (await call.post(f"{path}/reinstate", {})).code == "invalid_action"
    retired = (await call.post(f"{path}/retire", {})).details
    assert retired["status"] == "retired"
    assert retired["available_actions"]["reinstate"] is True
    assert (await call.post(f"{path}/retire", {})).code == "invalid_action"
    assert (await call.register()).code == "invalid_action"
    assert (await call.post(f"{path}/reinstate", {})).details["status"] == "pending"
    await call.register()
    assert (await call.get(path)).details["status"] == "active"
    await call.post(f"{path}/retire", {})
    assert (await call.post(f"{path}/reinstate", {})).details["status"] == "active"


async def test_an_agent_is_deleted_while_it_has_no_instances(api, call):
    agent = (await create(call, external_identifier="ext")).details
    path = f"/agent/{agent['id']}"
    deleted = await call.send("DELETE", path, json={"idempotency_key": "delete-key"})
    assert deleted.details["id"] == agent["id"]
    assert (await call.get(path)).status == 404
    assert (await create(call, external_identifier="ext")).status == 200
    await call.register()
    reply = await call.send("DELETE", f"/agent/{api.agent_id}")
    assert (reply.status, reply.code) == (409, "invalid_action")


async def test_instances_are_counted_when_asked(api, call):
    await call.instance("active")
    await call.instance("failed")
    path = f"/agent/{api.agent_id}"
    assert "instance_counts" not in (await call.get(path)).details
    counts = (await call.get(path, params={"include_counts": "true"})).details["instance_counts"]
    assert (counts["total"], counts["active"], counts["failed"], counts["finished"]) == (2, 1, 1, 1)
    assert (await call.get(path, params={"include_counts": "perhaps"})).status == 422


@pytest.mark.parametrize("reference", ["owner_person_id", "risk_profile_id", "team_id"])
async def test_agents_are_listed_by_what_they_belong_to(call, reference):
    await create(call, **{reference: "mine"})
    listed = (await call.get("/agent", params={reference: "mine"})).json
    assert listed["pagination"]["item_count"] == 1
