"""Calls with wrong arguments; ``test_typing.py`` checks that the marked lines are errors."""

from prefactor_http import (
    AgentVersionDict,
    AgentVersionForRegister,
    BulkItem,
    HttpClientConfig,
    PrefactorHttpClient,
    RegisterDict,
    RowDict,
    SpanTypeSchemaDict,
)
from prefactor_http.models.agent import AgentForCreate
from prefactor_http.models.api_token import ApiTokenForCreate
from prefactor_http.models.environment import EnvironmentForCreate

VERSION = AgentVersionForRegister(name="Triage")
TYPO: AgentVersionDict = {"external_idenifier": "v1"}  # refused
RISK: SpanTypeSchemaDict = {"name": "llm", "params_schema": {}, "data_risk": "low"}  # refused
NO_SCHEMA: SpanTypeSchemaDict = {"name": "llm"}  # refused
ROW: RowDict = {"colour": "red"}  # refused
AGENT: RegisterDict = {"agent_version": {"nmae": "v1"}, "agent_schema_version": 3}  # refused
SHOW = BulkItem(_type="agents/show", idempotency_key="show-agent-1", agent_id="id")


async def misspelt(client: PrefactorHttpClient) -> None:
    HttpClientConfig("http://localhost", "token", retries=3)  # refused
    client.with_options(dead_line=3.0)  # refused
    await client.validate_token(timeout=3.0)  # refused
    await client.request("GET", "/api/v1/agent", json={})  # refused
    await client.agent_instances.register("agent", VERSION, {}, environment="e")  # refused
    await client.agent_instances.start("id", at=None)  # refused
    await client.agent_instances.finish("id", state="complete")  # refused
    await client.agent_instances.get(instance_id="id")  # refused
    await client.agent_instances.list(size=3)  # refused
    await client.agent_instances.terminate("id", cause="over budget")  # refused
    await client.agent_instances.record_quality("id", "rating", value={})  # refused
    client.agent_instances.run("agent", VERSION, {}, timeout=3.0)  # refused
    await client.agent_spans.create("id", "llm", "active", parent="id")  # refused
    await client.agent_spans.finish("id", result={})  # refused
    await client.agent_spans.list(instance_id="id")  # refused
    await client.agents.create(AgentForCreate(name="Triage"), key="key")  # refused
    await client.agents.list_agents(team="id")  # refused
    await client.agents.list(team="id")  # refused
    await client.agents.show(id="id")  # refused
    await client.bulk.execute(items=[])  # refused
    await client.environments.list(account="id")  # refused
    await client.agent_versions.list(agent="id")  # refused
    await client.pfid.generate(3, account="id")  # refused
    EnvironmentForCreate(account="id", name="Staging")  # refused


async def of_the_wrong_type(client: PrefactorHttpClient) -> None:
    HttpClientConfig("http://localhost", "token", max_retries="3")  # refused
    client.with_options(deadline="soon")  # refused
    await client.agent_instances.register("agent", "1.0", {})  # refused
    await client.agent_instances.register({"name": "Triage"}, VERSION, {})  # refused
    await client.agent_instances.register("agent", VERSION, {}, purpose="fun")  # refused
    await client.agent_instances.start("id", "2026-01-02T03:04:05Z")  # refused
    await client.agent_instances.finish("id", "done")  # refused
    await client.agent_spans.create("id", "llm", "terminated")  # refused
    await client.agent_spans.finish("id", "active")  # refused
    await client.agents.get(7)  # refused
    await client.bulk.execute([SHOW])  # refused
    await client.environments.create("Staging")  # refused
    ApiTokenForCreate(token_scope="everything")  # refused


async def left_out(client: PrefactorHttpClient) -> None:
    HttpClientConfig("http://localhost")  # refused
    await client.agent_instances.start()  # refused
    await client.agent_instances.terminate("id")  # refused
    await client.agent_spans.create("id", "llm")  # refused
    AgentForCreate()  # refused
    ApiTokenForCreate()  # refused
    BulkItem(_type="agents/list")  # refused
