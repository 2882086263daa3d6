"""What the local API refuses of environments, deployments, versions and tokens (contract §12)."""

import pytest

NO_SPAN_TYPES = {"agent_id": "a", "external_identifier": "s"}
NO_ZONE = {"token_scope": "account", "expires_at": "2030-01-01T00:00:00"}
WRITES = [
    ("POST", "/agent_deployment"),
    ("PUT", "/agent_deployment/x"),
    ("DELETE", "/agent_deployment/x"),
    ("DELETE", "/environment/x"),
    ("PUT", "/account/x"),
    ("POST", "/agent_version"),
    ("POST", "/agent_schema_version"),
    ("POST", "/api_token"),
    ("POST", "/api_token/x/revoke"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_deployment_token_does_not_administrate(api, caller, method, path):
    sent = await caller.send(method, path, json={}, token=api.deployment_token)
    assert (sent.status, sent.code) == (401, "bad_authtoken")


@pytest.mark.parametrize(
    ("path", "details", "field"),
    [
        ("/agent_deployment", {"agent_id": "a"}, "environment_id"),
        ("/agent_deployment", {"environment_id": "e"}, "agent_id"),
        ("/agent_version", {"external_identifier": "v"}, "agent_id"),
        ("/agent_version", {"agent_id": "a"}, "external_identifier"),
        (
            "/agent_schema_version",
            {"agent_id": "a", "external_identifier": "s"},
            "span_type_schemas",
        ),
        ("/api_token", {}, "token_scope"),
        ("/api_token", {"token_scope": "environment"}, "token_scope"),
        ("/api_token", {"token_scope": "agent_deployment"}, "agent_id"),
        (
            "/api_token",
            {"token_scope": "account", "expires_at": "2030-01-01T00:00:00"},
            "expires_at",
        ),
    ],
)
async def test_a_field_that_is_missing_or_wrong_is_refused(caller, path, details, field):
    refused = await caller.post(path, {"details": details})
    assert refused.status == 422
    assert f"details.{field}" in refused.json["errors"]


@pytest.mark.parametrize("name", ["", None])
async def test_an_account_keeps_a_name(api, caller, name):
    path = f"/account/{api.account_id}"
    assert (await caller.send("PUT", path, json={"details": {"name": name}})).status == 422


@pytest.mark.parametrize("field", ["account_id", "agent_id", "environment_id"])
async def test_a_token_covers_what_exists(api, caller, field):
    details = {
        "token_scope": "agent_deployment",
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        field: "nowhere",
    }
    assert (await caller.post("/api_token", {"details": details})).status == 404


@pytest.mark.parametrize("field", ["agent_id", "environment_id"])
async def test_a_deployment_joins_what_exists(api, caller, field):
    details = {
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        field: "nowhere",
    }
    assert (await caller.post("/agent_deployment", {"details": details})).status == 404
