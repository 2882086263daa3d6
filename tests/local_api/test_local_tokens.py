"""Whom the local API lets in (contract §1, §6)."""

import pytest


async def test_a_good_token_is_told_so(call):
    reply = await call.get("/ping")
    assert (reply.status, reply.json) == (200, {"status": "success"})
    assert reply.headers["X-Request-Id"]


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", "Basic abc"])
async def test_a_missing_or_wrong_token_is_refused(call, header):
    reply = await call.get("/ping", headers={"Authorization": header})
    assert (reply.status, reply.code) == (401, "bad_authtoken")


async def test_a_request_without_authorization_is_refused(api, session):
    async with session.get(f"{api.url}/api/v1/ping") as response:
        assert response.status == 401


async def test_a_suspended_token_is_refused_until_it_is_reactivated(api, call):
    api.set_token_active(api.token, active=False)
    assert (await call.get("/ping")).status == 401
    api.set_token_active(api.token, active=True)
    assert (await call.get("/ping")).status == 200


async def test_an_unknown_path_is_not_found(call):
    assert (await call.get("/nowhere")).status == 404
    assert (await call.get("/../elsewhere")).status == 404


async def test_a_deployment_token_names_agent_and_environment_by_itself(api, call):
    reply = await call.register(agent_id=..., environment_id=..., token=api.deployment_token)
    assert reply.details["agent_id"] == api.agent_id
    assert reply.details["environment_id"] == api.environment_id
    assert reply.details["agent_deployment_id"] == api.deployment_id


@pytest.mark.parametrize("field", ["agent_id", "environment_id"])
async def test_a_deployment_token_cannot_be_contradicted(api, call, field):
    fields = {"agent_id": ..., "environment_id": ..., field: "another"}
    reply = await call.register(token=api.deployment_token, **fields)
    assert (reply.status, reply.code) == (403, "forbidden")


@pytest.mark.parametrize("field", ["agent_id", "environment_id"])
async def test_an_account_token_has_to_name_agent_and_environment(call, field):
    reply = await call.register(**{field: ...})
    assert reply.status == 422
    assert reply.json["errors"] == {field: ["is required"]}


async def test_a_deployment_token_neither_lists_nor_terminates(api, call):
    instance_id = await call.instance("active")
    token = api.deployment_token
    assert (await call.get("/agent_instance", token=token)).status == 401
    path = f"/agent_instance/{instance_id}/terminate"
    assert (await call.post(path, {"reason": "no"}, token=token)).status == 401
    assert api.instances[instance_id]["status"] == "active"
