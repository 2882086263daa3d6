"""Environments, deployments, versions, accounts, ids and counts, against the local API."""

from datetime import UTC, datetime

import pytest
from raw_server import reply

from prefactor_http import (
    BulkItem,
    BulkRequest,
    PrefactorConflictError,
    PrefactorNotFoundError,
    PrefactorResponseContractError,
    PrefactorValidationError,
    _pfid,
)
from prefactor_http.idempotency import new_id
from prefactor_http.models import (
    AccountForUpdate,
    AgentDeploymentForCreate,
    AgentDeploymentForUpdate,
    AgentForCreate,
    AgentInstanceForUpdate,
    AgentSchemaVersionForCreate,
    AgentVersionForCreate,
    EnvironmentForCreate,
    EnvironmentForUpdate,
)

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


async def new_environment(api, client, name="Staging"):
    return await client.environments.create(
        EnvironmentForCreate(account_id=api.account_id, name=name, purpose="staging")
    )


async def test_an_environment_from_its_creation_to_its_deletion(api, client):
    environment = await new_environment(api, client)
    assert (environment.name, environment.purpose) == ("Staging", "staging")
    assert await client.environments.get(environment.id) == environment
    await client.environments.update(environment.id, {"description": "For tests"})
    updated = await client.environments.update(environment.id, EnvironmentForUpdate(name="Stage"))
    assert (updated.name, updated.description) == ("Stage", "For tests")
    updated = await client.environments.update(
        environment.id, EnvironmentForUpdate(description=None)
    )
    assert (updated.name, updated.description) == ("Stage", None)
    await client.environments.delete(environment.id)
    with pytest.raises(PrefactorNotFoundError):
        await client.environments.get(environment.id)


async def test_an_environment_with_deployments_is_not_deleted(api, client):
    with pytest.raises(PrefactorConflictError):
        await client.environments.delete(api.environment_id)
    assert await client.environments.get(api.environment_id)


async def test_environments_are_created_and_updated_in_bulk(api, client):
    create = BulkItem(
        _type="environments/create",
        idempotency_key="create-env",
        details={"account_id": api.account_id, "name": "Bulk"},
    )
    created = (await client.bulk.execute(BulkRequest(items=[create]))).outputs["create-env"]
    environment = created.decode()
    assert environment.name == "Bulk"
    update = BulkItem(
        _type="environments/update",
        idempotency_key="update-env",
        environment_id=environment.id,
        details={"name": "Bulky"},
    )
    updated = (await client.bulk.execute(BulkRequest(items=[update]))).outputs["update-env"]
    assert updated.decode().name == "Bulky"


async def test_a_deployment_from_its_creation_to_its_deletion(api, client, instance):
    environment = await new_environment(api, client)
    deployment_id = new_id(api.agent_id)
    deployment = await client.agent_deployments.create(
        AgentDeploymentForCreate(
            agent_id=api.agent_id,
            environment_id=environment.id,
            current_version_id=instance.agent_version_id,
            id=deployment_id,
        )
    )
    assert deployment.id == deployment_id
    assert deployment.current_version_id == instance.agent_version_id
    assert await client.agent_deployments.get(deployment.id) == deployment
    await client.agent_deployments.delete(deployment.id)
    with pytest.raises(PrefactorNotFoundError):
        await client.agent_deployments.get(deployment.id)
    again = await client.agent_deployments.create(
        {"agent_id": api.agent_id, "environment_id": environment.id}
    )
    assert again.id != deployment_id


async def test_there_is_one_deployment_per_agent_and_environment(api, client):
    with pytest.raises(PrefactorValidationError) as caught:
        await client.agent_deployments.create(
            AgentDeploymentForCreate(agent_id=api.agent_id, environment_id=api.environment_id)
        )
    assert "details.environment_id" in caught.value.errors


async def refs(client, api):
    (schema,) = await client.agent_schema_versions.list(api.agent_id)
    return schema.current_agent_deployment_refs


async def test_a_null_clears_the_pin_of_a_deployment_and_an_omitted_field_keeps_it(
    api, client, instance
):
    assert await refs(client, api) == [api.deployment_id]
    kept = await client.agent_deployments.update(api.deployment_id, AgentDeploymentForUpdate())
    assert kept.current_version_id == instance.agent_version_id
    cleared = await client.agent_deployments.update(
        api.deployment_id, AgentDeploymentForUpdate(current_version_id=None)
    )
    assert cleared.current_version_id is None
    assert await refs(client, api) == []
    pinned = await client.agent_deployments.update(
        api.deployment_id, AgentDeploymentForUpdate(current_version_id=instance.agent_version_id)
    )
    assert pinned.current_version_id == instance.agent_version_id
    assert await refs(client, api) == [api.deployment_id]


async def test_a_deployment_pins_only_versions_of_its_agent(api, client, instance):
    other = await client.agents.create(AgentForCreate(name="Other"))
    version = await client.agent_versions.create(
        AgentVersionForCreate(agent_id=other.id, external_identifier="v1")
    )
    for version_id in ("nowhere", version.id):
        with pytest.raises(PrefactorValidationError):
            await client.agent_deployments.update(
                api.deployment_id, AgentDeploymentForUpdate(current_version_id=version_id)
            )


async def test_a_version_without_a_schema_can_be_created_and_pinned(api, client):
    version = await client.agent_versions.create(
        AgentVersionForCreate(agent_id=api.agent_id, external_identifier="v7")
    )
    assert version.external_identifier == "v7"
    assert await client.agent_versions.get(version.id) == version
    pinned = await client.agent_deployments.update(
        api.deployment_id, AgentDeploymentForUpdate(current_version_id=version.id)
    )
    assert pinned.current_version_id == version.id
    await client.agent_deployments.update(api.deployment_id, {"current_version_id": None})


async def test_a_schema_version_that_was_created_is_the_one_that_register_uses(api, client):
    created = await client.agent_schema_versions.create(
        AgentSchemaVersionForCreate(
            agent_id=api.agent_id, external_identifier="s1", span_type_schemas=[]
        )
    )
    assert await client.agent_schema_versions.get(created.id) == created
    await client.agent_instances.register(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
    )
    assert [schema.id for schema in await client.agent_schema_versions.list()] == [created.id]


@pytest.mark.parametrize("resource", ["agent_versions", "agent_schema_versions"])
async def test_a_version_needs_an_agent_that_exists(client, resource):
    details = {"agent_id": "nowhere", "external_identifier": "x", "span_schemas": {}}
    with pytest.raises(PrefactorNotFoundError):
        await getattr(client, resource).create(details)


async def test_an_account_is_listed_and_updated(api, client):
    (account,) = await client.accounts.list()
    assert account.id == api.account_id
    updated = await client.accounts.update(api.account_id, AccountForUpdate(name="Ours"))
    assert updated.name == "Ours"
    assert (await client.accounts.update(api.account_id, AccountForUpdate())).name == "Ours"
    assert (await client.accounts.get(api.account_id)).name == "Ours"


async def test_an_account_list_that_is_a_single_account_is_read_as_a_list(raw_server, raw_client):
    raw_server.script(reply(body={"status": "success", "details": {"id": "acc-1"}}))
    accounts = await raw_client.accounts.list()
    assert [account.id for account in accounts] == ["acc-1"]
    assert (accounts.pagination.item_count, accounts.has_next_page) == (1, False)


async def test_an_account_list_without_accounts_breaks_the_contract(raw_server, raw_client):
    raw_server.script(reply(body={"status": "success"}))
    with pytest.raises(PrefactorResponseContractError, match="missing required field `summaries`"):
        await raw_client.accounts.list()


async def test_ids_are_generated_for_the_account(api, client):
    ids = await client.pfid.generate(3, api.account_id)
    assert len(set(ids)) == 3
    assert {_pfid.partition_of(each) for each in ids} == {_pfid.partition_of(api.account_id)}
    assert len(await client.pfid.generate(1)) == 1


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        (0, ValueError, "count must be from 1 to 100, got 0"),
        (101, ValueError, "count must be from 1 to 100, got 101"),
        ("3", TypeError, "count must be an int, not str"),
        (None, TypeError, "count must be an int, not NoneType"),
    ],
)
async def test_the_number_of_ids_is_limited(raw_server, raw_client, count, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        await raw_client.pfid.generate(count)
    assert raw_server.requests == []


async def test_risk_profiles_are_listed(api, client):
    (profile,) = await client.risk_profiles.list(api.account_id)
    assert profile.account_id == api.account_id


async def test_alerts_are_counted(client):
    assert await client.alerts.count() == 0


async def test_an_instance_is_exported_with_its_spans(client, instance):
    span = await client.agent_spans.create(instance.id, "llm", "active")
    context = await client.agent_instances.agent_context(instance.id)
    assert context.body["agent_instance"]["id"] == instance.id
    assert [each["id"] for each in context.body["spans"]] == [span.id]


async def test_test_spans_are_created(client, instance):
    await client.agent_spans.create_test_spans(instance.id, 2)
    parent, _ = await client.agent_spans.list(instance.id)
    await client.agent_spans.create_test_spans(instance.id, parent_span_id=parent.id)
    spans = await client.agent_spans.list(instance.id)
    assert [span.parent_span_id for span in spans] == [None, None, parent.id]


async def test_the_older_quality_write_replaces_all_payloads(client, instance):
    updated = await client.agent_instances.update(
        instance.id, AgentInstanceForUpdate(quality_payload={"score": {"value": 1}})
    )
    assert updated.quality_payloads == {"score": {"value": 1}}


WRITES = [
    lambda c, details: c.accounts.update("i-1", details),
    lambda c, details: c.agent_deployments.create(details),
    lambda c, details: c.agent_deployments.update("i-1", details),
    lambda c, details: c.agent_instances.update("i-1", details),
    lambda c, details: c.agent_schema_versions.create(details),
    lambda c, details: c.agent_versions.create(details),
    lambda c, details: c.api_tokens.create(details),
    lambda c, details: c.environments.create(details),
    lambda c, details: c.environments.update("i-1", details),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("details", [None, "One", AgentForCreate(name="One")], ids=repr)
async def test_details_of_another_type_are_refused(raw_server, raw_client, write, details):
    with pytest.raises(TypeError, match=r"^details must be a dict or \w+, not \w+$"):
        await write(raw_client, details)
    assert raw_server.requests == []


@pytest.mark.parametrize("write", WRITES)
async def test_a_dict_of_details_is_sent_unchanged(raw_server, raw_client, write):
    fields = {"name": None, "a_new_field": [None], "at": datetime(2024, 5, 1, tzinfo=UTC)}
    raw_server.script(reply(404, {"status": "error", "code": "not_found"}))
    with pytest.raises(PrefactorNotFoundError):
        await write(raw_client, fields)
    assert raw_server.request.json == {"details": {**fields, "at": "2024-05-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("model", "fields", "blank"),
    [
        (AccountForUpdate, {}, "name"),
        (AgentDeploymentForCreate, {"environment_id": "e"}, "agent_id"),
        (AgentDeploymentForCreate, {"agent_id": "a"}, "environment_id"),
        (AgentDeploymentForCreate, {"agent_id": "a", "environment_id": "e"}, "id"),
        (AgentDeploymentForUpdate, {}, "current_version_id"),
        (AgentSchemaVersionForCreate, {"external_identifier": "s"}, "agent_id"),
        (AgentSchemaVersionForCreate, {"agent_id": "a"}, "external_identifier"),
        (AgentVersionForCreate, {"agent_id": "a"}, "external_identifier"),
        (EnvironmentForCreate, {"name": "n"}, "account_id"),
        (EnvironmentForCreate, {"account_id": "a"}, "name"),
        (EnvironmentForUpdate, {}, "name"),
    ],
)
@pytest.mark.parametrize("text", ["", " \t"])
def test_a_name_or_id_must_not_be_blank(model, fields, blank, text):
    message = f"^{model.__name__}.{blank}: must not be blank$"
    with pytest.raises(ValueError, match=message):
        model(**fields, **{blank: text})


@pytest.mark.parametrize("model", [EnvironmentForCreate, EnvironmentForUpdate])
def test_the_purpose_of_an_environment_is_one_that_the_api_defines(model):
    fields = {"account_id": "a", "name": "n"} if model is EnvironmentForCreate else {}
    with pytest.raises(ValueError, match="'live' is none of 'development', 'staging', 'testing'"):
        model(**fields, purpose="live")


BY_ID = [
    lambda c, i: c.accounts.update(i, {}),
    lambda c, i: c.agent_deployments.update(i, {}),
    lambda c, i: c.agent_deployments.delete(i),
    lambda c, i: c.agent_instances.update(i, {}),
    lambda c, i: c.agent_instances.agent_context(i),
    lambda c, i: c.api_tokens.suspend(i),
    lambda c, i: c.api_tokens.activate(i),
    lambda c, i: c.api_tokens.revoke(i),
    lambda c, i: c.api_tokens.delete(i),
    lambda c, i: c.environments.update(i, {}),
    lambda c, i: c.environments.delete(i),
]


@pytest.mark.parametrize("call", BY_ID)
async def test_an_id_must_be_text_that_is_no_path_step(raw_server, raw_client, call):
    for bad, error in (("", ValueError), ("..", ValueError), (None, TypeError), (7, TypeError)):
        with pytest.raises(error):
            await call(raw_client, bad)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.agent_spans.create_test_spans(" "), "agent_instance_id must not be blank"),
        (lambda c: c.agent_spans.create_test_spans("i-1", 0), "count must be at least 1"),
        (
            lambda c: c.agent_spans.create_test_spans("i-1", parent_span_id=""),
            "parent_span_id must not be blank",
        ),
        (lambda c: c.pfid.generate(1, ""), "account_id must not be blank"),
    ],
)
async def test_a_blank_or_small_argument_is_refused(raw_server, raw_client, call, message):
    with pytest.raises(ValueError, match=message):
        await call(raw_client)
    assert raw_server.requests == []
