"""Agents of the local API (contract §11)."""

import pytest

from prefactor_http import _pfid


async def create(caller, **fields):
    body = {"details": {"name": "Agent", **fields}, "idempotency_key": caller.key()}
    return await caller.post("/agent", body)


async def test_an_agent_can_be_created_read_and_listed(api, caller):
    agent = (await create(caller, description="Does things", external_identifier="ext")).details
    assert agent["status"] == "pending"
    assert agent["available_actions"] == {
        "update": True,
        "retire": True,
        "reinstate": False,
        "delete": True,
    }
    assert (await caller.get(f"/agent/{agent['id']}")).details == agent
    by_name = await caller.get("/agent/show", params={"external_identifier": "ext"})
    assert by_name.details == agent
    assert (await caller.get("/agent/show", params={"agent_id": agent["id"]})).details == agent
    listed = (await caller.get("/agent")).json["summaries"]
    assert [row["id"] for row in listed] == [api.agent_id, agent["id"]]
    assert "risk_profile_id" not in listed[0]
    assert set(api.agents) == {api.agent_id, agent["id"]}


async def test_show_requires_exactly_one_of_two_ids(caller):
    assert (await caller.get("/agent/show")).status == 422
    both = {"agent_id": "a", "external_identifier": "b"}
    assert (await caller.get("/agent/show", params=both)).status == 422
    assert (await caller.get("/agent/show", params={"external_identifier": "b"})).status == 404


async def test_names_and_ids_of_agents_are_validated(api, caller):
    assert (await create(caller, name="")).status == 422
    assert (await caller.post("/agent", {"name": "unwrapped"})).status == 422
    assert (await create(caller, id="mine")).status == 422
    chosen = _pfid.generate(_pfid.partition_of(api.account_id))
    assert (await create(caller, id=chosen, external_identifier="ext")).details["id"] == chosen
    assert list((await create(caller, external_identifier="ext")).json["errors"]) == [
        "details.external_identifier"
    ]


async def test_an_update_keeps_omitted_fields_and_null_clears(caller):
    agent = (await create(caller, description="old", team_id="team")).details
    path = f"/agent/{agent['id']}"
    changed = await caller.send("PUT", path, json={"details": {"name": "New", "team_id": None}})
    assert changed.details["name"] == "New"
    assert changed.details["description"] == "old"
    assert changed.details["team_id"] is None
    assert (await caller.send("PUT", path, json={"details": {"name": None}})).status == 422
    kept = await caller.send("PUT", path, json={"details": {"description": "new"}})
    assert (kept.details["name"], kept.details["description"]) == ("New", "new")


async def test_a_retired_agent_accepts_no_registers_until_it_is_reinstated(api, caller):
    path = f"/agent/{api.agent_id}"
    assert (await caller.post(f"{path}/reinstate", {})).code == "invalid_action"
    retired = (await caller.post(f"{path}/retire", {})).details
    assert retired["status"] == "retired"
    assert retired["available_actions"]["reinstate"] is True
    assert (await caller.post(f"{path}/retire", {})).code == "invalid_action"
    assert (await caller.register()).code == "invalid_action"
    assert (await caller.post(f"{path}/reinstate", {})).details["status"] == "pending"
    await caller.register()
    assert (await caller.get(path)).details["status"] == "active"
    await caller.post(f"{path}/retire", {})
    assert (await caller.post(f"{path}/reinstate", {})).details["status"] == "active"


async def test_an_agent_can_only_be_deleted_without_instances(api, caller):
    agent = (await create(caller, external_identifier="ext")).details
    path = f"/agent/{agent['id']}"
    deleted = await caller.send("DELETE", path, json={"idempotency_key": "delete-key"})
    assert deleted.details["id"] == agent["id"]
    assert (await caller.get(path)).status == 404
    assert (await create(caller, external_identifier="ext")).status == 200
    await caller.register()
    response = await caller.send("DELETE", f"/agent/{api.agent_id}")
    assert (response.status, response.code) == (409, "invalid_action")


async def test_instance_counts_are_included_on_request(api, caller):
    await caller.instance("active")
    await caller.instance("failed")
    path = f"/agent/{api.agent_id}"
    assert "instance_counts" not in (await caller.get(path)).details
    counts = (await caller.get(path, params={"include_counts": "true"})).details["instance_counts"]
    assert (counts["total"], counts["active"], counts["failed"], counts["finished"]) == (2, 1, 1, 1)
    assert (await caller.get(path, params={"include_counts": "perhaps"})).status == 422


@pytest.mark.parametrize("reference", ["owner_person_id", "risk_profile_id", "team_id"])
async def test_agents_can_be_filtered_by_owner_risk_profile_and_team(caller, reference):
    await create(caller, **{reference: "mine"})
    listed = (await caller.get("/agent", params={reference: "mine"})).json
    assert listed["pagination"]["item_count"] == 1
