"""Reads of accounts, environments, deployments and versions."""

import pytest

from prefactor_http import PrefactorNotFoundError


async def test_the_account_can_be_read(api, client):
    account = await client.accounts.get(api.account_id)
    assert account.id == api.account_id


async def test_environments_can_be_read(api, client):
    (environment,) = await client.environments.list(api.account_id)
    assert environment.id == api.environment_id
    assert await client.environments.get(api.environment_id) == environment


async def test_deployments_can_be_read(api, client):
    (deployment,) = await client.agent_deployments.list(api.agent_id)
    assert deployment.environment_id == api.environment_id
    assert await client.agent_deployments.get(api.deployment_id) == deployment


async def test_the_versions_of_a_registration_can_be_read(api, client, instance):
    (version,) = await client.agent_versions.list(api.agent_id)
    assert version.id == instance.agent_version_id
    assert await client.agent_versions.get(version.id) == version
    (schema,) = await client.agent_schema_versions.list(api.agent_id)
    assert schema.external_identifier == "s1"
    assert await client.agent_schema_versions.get(schema.id) == schema


@pytest.mark.parametrize("resource", ["environments", "agent_deployments", "agent_versions"])
async def test_an_omitted_filter_is_not_sent(api, client, instance, resource):
    page = await getattr(client, resource).list(page_size=10)
    assert len(page) == 1
    assert [name for name, _ in api.requests[-1].query] == [
        "pagination[offset]",
        "pagination[page_size]",
    ]


@pytest.mark.parametrize(
    "resource",
    ["accounts", "environments", "agent_deployments", "agent_versions", "agent_schema_versions"],
)
async def test_reading_an_unknown_id_raises_not_found(client, resource):
    with pytest.raises(PrefactorNotFoundError):
        await getattr(client, resource).get("nowhere")
