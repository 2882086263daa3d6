"""The inferred type of each call; ``test_typing.py`` runs mypy and pyright on this file."""

import asyncio
from datetime import UTC, datetime
from typing import Any, assert_type

from prefactor_http import (
    AgentInstance,
    AgentSchemaVersionForRegister,
    AgentSpan,
    AgentVersionDict,
    AgentVersionForRegister,
    Attempt,
    BulkItem,
    BulkOutput,
    BulkRequest,
    BulkResponse,
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    RegisterDict,
    RowDict,
    SpanTypeSchemaForCreate,
)
from prefactor_http.endpoints.agent_instance_run import AgentInstanceRun
from prefactor_http.endpoints.page import Page
from prefactor_http.idempotency import derive_key, new_id, new_key
from prefactor_http.models.account import Account, AccountForUpdate
from prefactor_http.models.agent import Agent, AgentForCreate, AgentForUpdate, AgentSummary
from prefactor_http.models.agent_deployment import (
    AgentDeployment,
    AgentDeploymentForCreate,
    AgentDeploymentForUpdate,
)
from prefactor_http.models.agent_instance import (
    AgentContext,
    AgentInstanceForUpdate,
    AgentInstanceSummary,
)
from prefactor_http.models.agent_version import (
    AgentSchemaVersion,
    AgentSchemaVersionForCreate,
    AgentVersion,
    AgentVersionForCreate,
)
from prefactor_http.models.api_token import ApiToken, ApiTokenForCreate, CreatedApiToken
from prefactor_http.models.base import PaginationOutput
from prefactor_http.models.environment import (
    Environment,
    EnvironmentForCreate,
    EnvironmentForUpdate,
)
from prefactor_http.models.risk_profile import RiskProfile
from prefactor_http.testing import LocalPrefactor

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
VERSION = AgentVersionForRegister(name="Triage", external_identifier="triage-1")
SCHEMA = AgentSchemaVersionForRegister(
    external_identifier="schema-1",
    span_type_schemas=[SpanTypeSchemaForCreate(name="llm", params_schema={"type": "object"})],
)

AGENT: RegisterDict = {
    "agent_id": "agent",
    "agent_version": {"external_identifier": "v1", "runtime_environment": {"os": "linux"}},
    "agent_schema_version": {
        "external_identifier": "s1",
        "span_type_schemas": [
            {
                "name": "llm",
                "params_schema": {"type": "object", "properties": {"model": {"type": "string"}}},
                "data_risk": {
                    "action_profile": {"read_data": "allowed"},
                    "params_data_categories": {"classification": "internal"},
                    "result_data_categories": {},
                },
            },
            SpanTypeSchemaForCreate(name="tool", params_schema={}),
        ],
        "quality_schemas": [{"name": "rating", "schema": {"type": "object"}}],
    },
}


async def dicts(client: PrefactorHttpClient) -> None:
    calls = client.agent_instances
    assert_type(await calls.register(**AGENT), AgentInstance)
    assert_type(await calls.register(**AGENT, id="id", idempotency_key="key"), AgentInstance)
    async with calls.run(**AGENT, external_identifier="run-1") as run:
        assert_type(run.instance, AgentInstance)
        assert_type(run.recorded, bool)
    version: AgentVersionDict = {"name": "Triage"}
    untyped: dict[str, Any] = {"external_identifier": "s1"}
    assert_type(await calls.register("agent", version, untyped), AgentInstance)
    rows: list[RowDict] = [{"external_identifier": "row-1", "agent_version": version}]
    async for outcome in calls.register_many(rows, **AGENT, job="job"):
        assert_type(outcome.instance, AgentInstance | None)
    async for outcome in calls.register_many([{"id": "id"}, untyped], **AGENT):
        assert_type(outcome.ok, bool)
    BulkItem(_type="agent_instances/register", idempotency_key="register-1", **AGENT)


async def the_client() -> None:
    attempts: list[Attempt] = []
    config = HttpClientConfig("http://localhost", "token", on_attempt=attempts.append)
    assert_type(HttpClientConfig.from_env(max_retries=5), HttpClientConfig)
    async with PrefactorHttpClient(config) as client:
        assert_type(client, PrefactorHttpClient)
        assert_type(client.with_options(deadline=5.0, max_retries=0), PrefactorHttpClient)
        assert_type(await client.validate_token(), dict[str, Any])
        assert_type(await client.request("GET", "/api/v1/agent"), dict[str, Any])
        assert_type(await client.close(drain_timeout=1.0), None)


async def agent_instances(client: PrefactorHttpClient) -> None:
    calls = client.agent_instances
    instance = await calls.register("agent", VERSION, SCHEMA, environment_id="e", purpose="eval")
    assert_type(instance, AgentInstance)
    assert_type(instance.id, str)
    assert_type(instance.status, str)
    assert_type(instance.started_at, datetime | None)
    by_keyword = await calls.register(
        agent_version={"name": "Triage"},
        agent_schema_version={"external_identifier": "schema-1"},
        id=new_id("agent"),
        idempotency_key=new_key(),
        update_current_version=False,
        external_identifier="run-1",
    )
    assert_type(by_keyword, AgentInstance)
    assert_type(await calls.start("id", MOMENT, "key"), AgentInstance)
    assert_type(await calls.finish("id", "failed", timestamp=MOMENT), AgentInstance)
    assert_type(await calls.get("id"), AgentInstance)
    assert_type(await calls.terminate("id", "over budget"), AgentInstance)
    assert_type(await calls.record_quality("id", "rating", {"stars": 5}), AgentInstance)
    page = await calls.list(agent_id="agent", page_size=100)
    assert_type(page, Page[AgentInstanceSummary])
    assert_type(page[0], AgentInstanceSummary)
    assert_type(page.items, list[AgentInstanceSummary])
    assert_type(page.pagination, PaginationOutput)
    assert_type(page.has_next_page, bool)
    async for summary in page:
        assert_type(summary, AgentInstanceSummary)
    async for each in calls.list(page_size=100):
        assert_type(each, AgentInstanceSummary)
    task = asyncio.create_task(calls.list())
    assert_type(await task, Page[AgentInstanceSummary])
    assert_type(await asyncio.wait_for(calls.list(), 3.0), Page[AgentInstanceSummary])
    async with calls.run("agent", VERSION, SCHEMA, finish_timeout=3.0) as run:
        assert_type(run, AgentInstanceRun)
        assert_type(run.id, str)


async def agent_spans(client: PrefactorHttpClient) -> None:
    reasons: list[str | None] = []
    span = await client.agent_spans.create(
        "instance",
        "llm",
        "active",
        {"model": "m"},
        parent_span_id="parent",
        started_at=MOMENT,
        control_signal_callback=reasons.append,
    )
    assert_type(span, AgentSpan)
    assert_type(span.status, str)
    finished = await client.agent_spans.finish(span.id, "complete", result_payload={"tokens": 3})
    assert_type(finished, AgentSpan)
    assert_type(await client.agent_spans.list("instance"), Page[AgentSpan])


async def agents(client: PrefactorHttpClient) -> None:
    assert_type(await client.agents.create(AgentForCreate(name="Triage")), Agent)
    assert_type(await client.agents.get("id"), Agent)
    assert_type(await client.agents.update("id", AgentForUpdate(team_id=None)), Agent)
    assert_type(await client.agents.show(external_identifier="triage"), Agent)
    assert_type(await client.agents.list_agents(team_id="team"), Page[AgentSummary])
    assert_type(await client.agents.list(team_id="team"), Page[AgentSummary])
    assert_type(await client.agents.retire("id"), Agent)
    assert_type(await client.agents.reinstate("id"), Agent)
    assert_type(await client.agents.delete("id", idempotency_key="key"), Agent)


async def bulk(client: PrefactorHttpClient) -> None:
    item = BulkItem(_type="agents/show", idempotency_key="show-agent-1", agent_id="id")
    response = await client.bulk.execute(BulkRequest(items=[item]))
    assert_type(response, BulkResponse)
    assert_type(response.outputs["show-agent-1"], BulkOutput)
    assert_type(response.outputs["show-agent-1"].ok, bool)


async def resources(client: PrefactorHttpClient) -> None:
    assert_type(await client.accounts.get("id"), Account)
    assert_type(await client.accounts.list(), Page[Account])
    assert_type(await client.accounts.update("id", AccountForUpdate(name="Ours")), Account)
    environment = EnvironmentForCreate(account_id="id", name="Staging", purpose="staging")
    assert_type(await client.environments.create(environment), Environment)
    assert_type(
        await client.environments.update("id", EnvironmentForUpdate(description=None)), Environment
    )
    deployment = AgentDeploymentForCreate(agent_id="id", environment_id="id")
    assert_type(await client.agent_deployments.create(deployment), AgentDeployment)
    assert_type(
        await client.agent_deployments.update(
            "id", AgentDeploymentForUpdate(current_version_id=None)
        ),
        AgentDeployment,
    )
    version = AgentVersionForCreate(agent_id="id", external_identifier="v1")
    assert_type(await client.agent_versions.create(version), AgentVersion)
    schema = AgentSchemaVersionForCreate(agent_id="id", external_identifier="s1")
    assert_type(await client.agent_schema_versions.create(schema), AgentSchemaVersion)
    created = await client.api_tokens.create(
        ApiTokenForCreate(token_scope="account", expires_at=MOMENT)
    )
    assert_type(created, CreatedApiToken)
    assert_type(created.token, str)
    assert_type(created.details, ApiToken)
    assert_type(await client.api_tokens.suspend("id"), ApiToken)
    assert_type(await client.api_tokens.activate("id"), ApiToken)
    assert_type(await client.api_tokens.revoke("id"), ApiToken)
    assert_type(await client.pfid.generate(3), list[str])
    assert_type(await client.risk_profiles.list("account"), Page[RiskProfile])
    assert_type(await client.alerts.count(), int)
    assert_type(await client.agent_instances.agent_context("id"), AgentContext)
    assert_type(
        await client.agent_instances.update("id", AgentInstanceForUpdate(quality_payload={})),
        AgentInstance,
    )
    assert_type(await client.environments.get("id"), Environment)
    assert_type(await client.environments.list("account"), Page[Environment])
    assert_type(await client.agent_deployments.get("id"), AgentDeployment)
    assert_type(await client.agent_deployments.list("agent"), Page[AgentDeployment])
    assert_type(await client.agent_versions.get("id"), AgentVersion)
    assert_type(await client.agent_versions.list("agent"), Page[AgentVersion])
    assert_type(await client.agent_schema_versions.get("id"), AgentSchemaVersion)
    assert_type(await client.agent_schema_versions.list("agent"), Page[AgentSchemaVersion])


def errors(error: PrefactorApiError) -> None:
    assert_type(error.status_code, int)
    assert_type(error.code, str)
    assert_type(error.retry_after, float | None)
    assert_type(error.idempotency_key, str | None)
    assert_type(error.outcome_unknown, bool)


def keys() -> None:
    assert_type(derive_key("job", 7), str)


async def the_local_api() -> None:
    async with LocalPrefactor(faults=0.3, seed=7) as api:
        assert_type(api, LocalPrefactor)
        assert_type(api.url, str)
        assert_type(api.token, str)
