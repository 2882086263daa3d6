"""Every operation: a call with all its arguments, and its exact form on the wire."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from types import NoneType
from typing import Any, NamedTuple

from prefactor_http import (
    AgentInstance,
    AgentSpan,
    BulkItem,
    BulkRequest,
    BulkResponse,
    Outcome,
    PrefactorHttpClient,
    _api,
)
from prefactor_http._bulk.operation import REGISTER_MANY, STREAM
from prefactor_http._http.operation import Operation
from prefactor_http.models import (
    Account,
    AccountForUpdate,
    Agent,
    AgentContext,
    AgentDeployment,
    AgentDeploymentForCreate,
    AgentDeploymentForUpdate,
    AgentForCreate,
    AgentForUpdate,
    AgentInstanceForUpdate,
    AgentInstanceSummary,
    AgentSchemaVersion,
    AgentSchemaVersionForCreate,
    AgentSummary,
    AgentVersion,
    AgentVersionForCreate,
    ApiToken,
    ApiTokenForCreate,
    CreatedApiToken,
    Environment,
    EnvironmentForCreate,
    EnvironmentForUpdate,
    RiskProfile,
)

ODD_ID = "a/b?c#d%e é"
QUOTED = "a%2Fb%3Fc%23d%25e%20%C3%A9"
ODD_VALUE = "a&b=c+d%e é"
QUOTED_VALUE = "a%26b%3Dc%2Bd%25e%20%C3%A9"
KEY = "key-0001"
END = b'"idempotency_key":"key-0001"}'
THEN = datetime(2024, 5, 1, 12, tzinfo=UTC)
PAGE = "pagination[offset]=0&pagination[page_size]=50"


class Case(NamedTuple):
    """One call, and its form on the wire.

    Verb, path, body and ``bulk`` are literals: nothing here is read from the operation.
    """

    operation: Operation[Any]
    call: Callable[[PrefactorHttpClient], Awaitable[Any]]
    request_line: str
    body: bytes
    result: type[Any]
    bulk: str | None = None
    answer: dict[str, Any] | None = None  # where it is not the resource in its usual envelope


def get(operation, call, path, result, bulk=None, answer=None):
    return Case(operation, call, f"GET /api/v1{path}", b"", result, bulk, answer)


def post(operation, call, path, body, result, bulk=None, answer=None, verb="POST"):
    return Case(operation, call, f"{verb} /api/v1{path}", body, result, bulk, answer)


put = partial(post, verb="PUT")
delete = partial(post, verb="DELETE")


async def only(stream):
    (outcome,) = [outcome async for outcome in stream]
    return outcome


CASES = [
    get(_api.PING, lambda c: c.validate_token(), "/ping", dict),
    # Agent instances
    get(
        _api.GET_INSTANCE,
        lambda c: c.agent_instances.get(ODD_ID),
        f"/agent_instance/{QUOTED}",
        AgentInstance,
        bulk="agent_instances/show",
    ),
    get(
        _api.LIST_INSTANCES,
        lambda c: c.agent_instances.list(agent_id=ODD_VALUE, agent_version_id="v-1"),
        f"/agent_instance?agent_id={QUOTED_VALUE}&agent_version_id=v-1&{PAGE}",
        AgentInstanceSummary,
        bulk="agent_instances/list",
    ),
    post(
        _api.REGISTER,
        lambda c: c.agent_instances.register(
            "a-1",
            {"external_identifier": "v1"},
            {"external_identifier": "s1", "span_type_schemas": []},
            "i-1",
            KEY,
            False,
            environment_id="e-1",
            purpose="eval",
            external_identifier="mine",
        ),
        "/agent_instance/register",
        b'{"agent_id":"a-1","environment_id":"e-1","agent_version":{"external_identifier":"v1"},'
        b'"agent_schema_version":{"external_identifier":"s1","span_type_schemas":[]},"id":"i-1",'
        b'"external_identifier":"mine","purpose":"eval","update_current_version":false,' + END,
        AgentInstance,
        bulk="agent_instances/register",
    ),
    post(
        _api.START,
        lambda c: c.agent_instances.start(ODD_ID, THEN, KEY),
        f"/agent_instance/{QUOTED}/start",
        b'{"timestamp":"2024-05-01T12:00:00Z",' + END,
        AgentInstance,
        bulk="agent_instances/start",
    ),
    post(
        _api.FINISH,
        lambda c: c.agent_instances.finish(ODD_ID, "failed", THEN, KEY),
        f"/agent_instance/{QUOTED}/finish",
        b'{"status":"failed","timestamp":"2024-05-01T12:00:00Z",' + END,
        AgentInstance,
        bulk="agent_instances/finish",
    ),
    post(
        _api.TERMINATE,
        lambda c: c.agent_instances.terminate(ODD_ID, "enough", KEY),
        f"/agent_instance/{QUOTED}/terminate",
        b'{"reason":"enough",' + END,
        AgentInstance,
        bulk="agent_instances/terminate",
    ),
    post(
        _api.RECORD_QUALITY,
        lambda c: c.agent_instances.record_quality(ODD_ID, "score", None, KEY),
        f"/agent_instance/{QUOTED}/record_quality",
        b'{"name":"score","payload":null,' + END,
        AgentInstance,
        bulk="agent_instances/record_quality",
    ),
    put(
        _api.UPDATE_INSTANCE,
        lambda c: c.agent_instances.update(
            ODD_ID, AgentInstanceForUpdate(quality_payload={"score": 1})
        ),
        f"/agent_instance/{QUOTED}",
        b'{"details":{"quality_payload":{"score":1}}}',
        AgentInstance,
    ),
    get(
        _api.GET_AGENT_CONTEXT,
        lambda c: c.agent_instances.agent_context(ODD_ID),
        f"/agent_instance/{QUOTED}/agent_context",
        AgentContext,
        answer={"agent_context": {"body": {"a": 1}}},
    ),
    # Agent spans
    get(
        _api.GET_SPAN,
        lambda c: c.agent_spans.get(ODD_ID),
        f"/agent_spans/{QUOTED}",
        AgentSpan,
    ),
    get(
        _api.LIST_SPANS,
        lambda c: c.agent_spans.list(
            ODD_VALUE, "a-1", THEN, THEN, include_summaries=True, include_risk_level=True
        ),
        f"/agent_spans?agent_instance_id={QUOTED_VALUE}&agent_id=a-1&start_time=2024-05-01T12:00:00Z"
        "&end_time=2024-05-01T12:00:00Z&include_summaries=true&include_risk_level=true&" + PAGE,
        AgentSpan,
        bulk="agent_spans/list",
    ),
    post(
        _api.CREATE_SPAN,
        lambda c: c.agent_spans.create(
            *("i-1", "agent:llm", "complete", {"q": 1}, {"a": 2}, "s-1", "s-0", THEN, THEN, KEY),
            sensitive_encoding=True,
        ),
        "/agent_spans",
        b'{"details":{"agent_instance_id":"i-1","schema_name":"agent:llm","status":"complete",'
        b'"payload":{"q":1},"result_payload":{"a":2},"id":"s-1","parent_span_id":"s-0",'
        b'"started_at":"2024-05-01T12:00:00Z","finished_at":"2024-05-01T12:00:00Z",'
        b'"sensitive_encoding":true},' + END,
        AgentSpan,
        bulk="agent_spans/create",
    ),
    post(
        _api.FINISH_SPAN,
        lambda c: c.agent_spans.finish(
            ODD_ID, "failed", {"a": None}, THEN, KEY, sensitive_encoding=False
        ),
        f"/agent_spans/{QUOTED}/finish",
        b'{"status":"failed","result_payload":{"a":null},"timestamp":"2024-05-01T12:00:00Z",'
        b'"sensitive_encoding":false,' + END,
        AgentSpan,
        bulk="agent_spans/finish",
    ),
    post(
        _api.CREATE_TEST_SPANS,
        lambda c: c.agent_spans.create_test_spans("i-1", 3, "s-1"),
        "/agent_spans/create_test_spans",
        b'{"agent_instance_id":"i-1","count":3,"parent_span_id":"s-1"}',
        NoneType,
    ),
    # Bulk
    post(
        _api.BULK,
        lambda c: c.bulk.execute(
            BulkRequest(
                items=[
                    BulkItem(_type="agents/show", idempotency_key="key-0001", agent_id=ODD_ID),
                    BulkItem(_type="agents/list", idempotency_key="key-0002"),
                ]
            )
        ),
        "/bulk",
        '{"items":[{"_type":"agents/show","idempotency_key":"key-0001","agent_id":"a/b?c#d%e é"},'
        '{"_type":"agents/list","idempotency_key":"key-0002"}]}'.encode(),
        BulkResponse,
    ),
    post(
        STREAM,
        lambda c: only(c.bulk.stream([BulkItem(_type="agents/list", idempotency_key=KEY)])),
        "/bulk",
        b'{"items":[{"_type":"agents/list","idempotency_key":"key-0001"}]}',
        Outcome,
    ),
    post(
        REGISTER_MANY,
        lambda c: only(
            c.agent_instances.register_many(
                [{"external_identifier": "row-1", "idempotency_key": KEY}],
                agent_id="a-1",
                agent_version={"external_identifier": "v1"},
                agent_schema_version={"external_identifier": "s1"},
            )
        ),
        "/bulk",
        b'{"items":[{"_type":"agent_instances/register","idempotency_key":"key-0001",'
        b'"external_identifier":"row-1","agent_id":"a-1",'
        b'"agent_version":{"external_identifier":"v1"},'
        b'"agent_schema_version":{"external_identifier":"s1"},"update_current_version":true}]}',
        Outcome,
    ),
    # Agents
    get(_api.GET_AGENT, lambda c: c.agents.get(ODD_ID), f"/agent/{QUOTED}", Agent),
    get(
        _api.SHOW_AGENT,
        lambda c: c.agents.show(
            external_identifier=ODD_VALUE,
            environment_id="e-1",
            include_counts=True,
            include_risk_rollup=True,
        ),
        f"/agent/show?external_identifier={QUOTED_VALUE}&environment_id=e-1&include_counts=true"
        "&include_risk_rollup=true",
        Agent,
        bulk="agents/show",
    ),
    get(
        _api.LIST_AGENTS,
        lambda c: c.agents.list_agents("r-1", "t-1", ODD_VALUE, "-name", 100, 20),
        f"/agent?risk_profile_id=r-1&team_id=t-1&owner_person_id={QUOTED_VALUE}&sorting=-name"
        "&pagination[offset]=100&pagination[page_size]=20",
        AgentSummary,
        bulk="agents/list",
    ),
    post(
        _api.CREATE_AGENT,
        lambda c: c.agents.create(AgentForCreate(name="n", team_id=None), KEY),
        "/agent",
        b'{"details":{"name":"n","team_id":null},' + END,
        Agent,
        bulk="agents/create",
    ),
    put(
        _api.UPDATE_AGENT,
        lambda c: c.agents.update(ODD_ID, AgentForUpdate(name="n", team_id=None), KEY),
        f"/agent/{QUOTED}",
        b'{"details":{"name":"n","team_id":null},' + END,
        Agent,
        bulk="agents/update",
    ),
    post(
        _api.RETIRE_AGENT,
        lambda c: c.agents.retire(ODD_ID, KEY),
        f"/agent/{QUOTED}/retire",
        b"{" + END,
        Agent,
        bulk="agents/retire",
    ),
    post(
        _api.REINSTATE_AGENT,
        lambda c: c.agents.reinstate(ODD_ID, KEY),
        f"/agent/{QUOTED}/reinstate",
        b"{" + END,
        Agent,
        bulk="agents/reinstate",
    ),
    delete(
        _api.DELETE_AGENT,
        lambda c: c.agents.delete(ODD_ID, KEY),
        f"/agent/{QUOTED}",
        b"{" + END,
        Agent,
        bulk="agents/delete",
    ),
    # Other resources
    get(_api.GET_ACCOUNT, lambda c: c.accounts.get(ODD_ID), f"/account/{QUOTED}", Account),
    get(
        _api.GET_ENVIRONMENT,
        lambda c: c.environments.get(ODD_ID),
        f"/environment/{QUOTED}",
        Environment,
        bulk="environments/show",
    ),
    get(
        _api.LIST_ENVIRONMENTS,
        lambda c: c.environments.list(ODD_VALUE),
        f"/environment?account_id={QUOTED_VALUE}&{PAGE}",
        Environment,
        bulk="environments/list",
    ),
    get(
        _api.GET_DEPLOYMENT,
        lambda c: c.agent_deployments.get(ODD_ID),
        f"/agent_deployment/{QUOTED}",
        AgentDeployment,
    ),
    get(
        _api.LIST_DEPLOYMENTS,
        lambda c: c.agent_deployments.list(ODD_VALUE),
        f"/agent_deployment?agent_id={QUOTED_VALUE}&{PAGE}",
        AgentDeployment,
    ),
    get(
        _api.GET_VERSION,
        lambda c: c.agent_versions.get(ODD_ID),
        f"/agent_version/{QUOTED}",
        AgentVersion,
    ),
    get(
        _api.LIST_VERSIONS,
        lambda c: c.agent_versions.list(ODD_VALUE),
        f"/agent_version?agent_id={QUOTED_VALUE}&{PAGE}",
        AgentVersion,
    ),
    get(
        _api.GET_SCHEMA_VERSION,
        lambda c: c.agent_schema_versions.get(ODD_ID),
        f"/agent_schema_version/{QUOTED}",
        AgentSchemaVersion,
    ),
    get(
        _api.LIST_SCHEMA_VERSIONS,
        lambda c: c.agent_schema_versions.list(ODD_VALUE),
        f"/agent_schema_version?agent_id={QUOTED_VALUE}&{PAGE}",
        AgentSchemaVersion,
    ),
    get(
        _api.LIST_ACCOUNTS,
        lambda c: c.accounts.list("-name", 10, 20),
        "/account?sorting=-name&pagination[offset]=10&pagination[page_size]=20",
        Account,
    ),
    put(
        _api.UPDATE_ACCOUNT,
        lambda c: c.accounts.update(ODD_ID, AccountForUpdate(name="n")),
        f"/account/{QUOTED}",
        b'{"details":{"name":"n"}}',
        Account,
    ),
    post(
        _api.CREATE_ENVIRONMENT,
        lambda c: c.environments.create(
            EnvironmentForCreate(account_id="acc-1", name="n", purpose="staging", description=None)
        ),
        "/environment",
        b'{"details":{"account_id":"acc-1","name":"n","purpose":"staging","description":null}}',
        Environment,
        bulk="environments/create",
    ),
    put(
        _api.UPDATE_ENVIRONMENT,
        lambda c: c.environments.update(ODD_ID, EnvironmentForUpdate(description=None)),
        f"/environment/{QUOTED}",
        b'{"details":{"description":null}}',
        Environment,
        bulk="environments/update",
    ),
    delete(
        _api.DELETE_ENVIRONMENT,
        lambda c: c.environments.delete(ODD_ID),
        f"/environment/{QUOTED}",
        b"",
        NoneType,
    ),
    post(
        _api.CREATE_DEPLOYMENT,
        lambda c: c.agent_deployments.create(
            AgentDeploymentForCreate(
                agent_id="a-1", environment_id="e-1", current_version_id="v-1", id="d-1"
            )
        ),
        "/agent_deployment",
        b'{"details":{"agent_id":"a-1","environment_id":"e-1","current_version_id":"v-1",'
        b'"id":"d-1"}}',
        AgentDeployment,
    ),
    put(
        _api.UPDATE_DEPLOYMENT,
        lambda c: c.agent_deployments.update(
            ODD_ID, AgentDeploymentForUpdate(current_version_id=None)
        ),
        f"/agent_deployment/{QUOTED}",
        b'{"details":{"current_version_id":null}}',
        AgentDeployment,
    ),
    delete(
        _api.DELETE_DEPLOYMENT,
        lambda c: c.agent_deployments.delete(ODD_ID),
        f"/agent_deployment/{QUOTED}",
        b"",
        NoneType,
    ),
    post(
        _api.CREATE_VERSION,
        lambda c: c.agent_versions.create(
            AgentVersionForCreate(agent_id="a-1", external_identifier="v1")
        ),
        "/agent_version",
        b'{"details":{"agent_id":"a-1","external_identifier":"v1"}}',
        AgentVersion,
    ),
    post(
        _api.CREATE_SCHEMA_VERSION,
        lambda c: c.agent_schema_versions.create(
            AgentSchemaVersionForCreate(
                agent_id="a-1", external_identifier="s1", span_schemas={"llm": {}}
            )
        ),
        "/agent_schema_version",
        b'{"details":{"external_identifier":"s1","span_schemas":{"llm":{}},"agent_id":"a-1"}}',
        AgentSchemaVersion,
    ),
    post(
        _api.CREATE_API_TOKEN,
        lambda c: c.api_tokens.create(
            ApiTokenForCreate(
                token_scope="agent_deployment",
                account_id="acc-1",
                agent_id="a-1",
                environment_id="e-1",
                expires_at=THEN,
            )
        ),
        "/api_token",
        b'{"details":{"token_scope":"agent_deployment","account_id":"acc-1","agent_id":"a-1",'
        b'"environment_id":"e-1","expires_at":"2024-05-01T12:00:00Z"}}',
        CreatedApiToken,
        answer={"details": {"id": "t-1"}, "token": "a-new-secret"},
    ),
    post(
        _api.SUSPEND_API_TOKEN,
        lambda c: c.api_tokens.suspend(ODD_ID),
        f"/api_token/{QUOTED}/suspend",
        b"{}",
        ApiToken,
    ),
    post(
        _api.ACTIVATE_API_TOKEN,
        lambda c: c.api_tokens.activate(ODD_ID),
        f"/api_token/{QUOTED}/activate",
        b"{}",
        ApiToken,
    ),
    post(
        _api.REVOKE_API_TOKEN,
        lambda c: c.api_tokens.revoke(ODD_ID),
        f"/api_token/{QUOTED}/revoke",
        b"{}",
        ApiToken,
    ),
    delete(
        _api.DELETE_API_TOKEN,
        lambda c: c.api_tokens.delete(ODD_ID),
        f"/api_token/{QUOTED}",
        b"",
        NoneType,
    ),
    post(
        _api.GENERATE_PFIDS,
        lambda c: c.pfid.generate(2, "acc-1"),
        "/pfid/generate",
        b'{"count":2,"account_id":"acc-1"}',
        list,
        answer={"details": {"pfids": ["p-1", "p-2"]}},
    ),
    get(
        _api.LIST_RISK_PROFILES,
        lambda c: c.risk_profiles.list(ODD_VALUE),
        f"/risk_profile?account_id={QUOTED_VALUE}&{PAGE}",
        RiskProfile,
    ),
    get(
        _api.COUNT_ALERTS,
        lambda c: c.alerts.count(),
        "/alerts/count",
        int,
        answer={"count": 3},
    ),
]
