"""Authentication at the local API (contract §1, §6)."""

import pytest


async def test_ping_succeeds_with_a_valid_token(caller):
    response = await caller.get("/ping")
    assert (response.status, response.json) == (200, {"status": "success"})
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", "Basic abc"])
async def test_a_malformed_or_unknown_token_is_refused(caller, header):
    response = await caller.get("/ping", headers={"Authorization": header})
    assert (response.status, response.code) == (401, "bad_authtoken")


async def test_a_request_without_authorization_is_refused(api, session):
    async with session.get(f"{api.url}/api/v1/ping") as response:
        assert response.status == 401


async def test_a_suspended_token_is_refused_until_it_is_reactivated(api, caller):
    api.set_token_active(api.token, active=False)
    assert (await caller.get("/ping")).status == 401
    api.set_token_active(api.token, active=True)
    assert (await caller.get("/ping")).status == 200


async def test_an_unknown_path_is_not_found(caller):
    assert (await caller.get("/nowhere")).status == 404
    assert (await caller.get("/../elsewhere")).status == 404


async def test_a_deployment_token_supplies_agent_and_environment(api, caller):
    response = await caller.register(agent_id=..., environment_id=..., token=api.deployment_token)
    assert response.details["agent_id"] == api.agent_id
    assert response.details["environment_id"] == api.environment_id
    assert response.details["agent_deployment_id"] == api.deployment_id


@pytest.mark.parametrize("field", ["agent_id", "environment_id"])
async def test_an_id_that_differs_from_the_deployment_token_is_forbidden(api, caller, field):
    fields = {"agent_id": ..., "environment_id": ..., field: "another"}
    response = await caller.register(token=api.deployment_token, **fields)
    assert (response.status, response.code) == (403, "forbidden")


@pytest.mark.parametrize("field", ["agent_id", "environment_id"])
async def test_an_account_token_requires_agent_and_environment(caller, field):
    response = await caller.register(**{field: ...})
    assert response.status == 422
    assert response.json["errors"] == {field: ["is required"]}


async def test_a_deployment_token_cannot_list_or_terminate(api, caller):
    instance_id = await caller.instance("active")
    token = api.deployment_token
    assert (await caller.get("/agent_instance", token=token)).status == 401
    path = f"/agent_instance/{instance_id}/terminate"
    assert (await caller.post(path, {"reason": "no"}, token=token)).status == 401
    assert api.instances[instance_id]["status"] == "active"
