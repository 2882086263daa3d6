"""Table of all API operations of this client, by resource.

CONTRIBUTING.md shows how to add one. An operation for which the API documents no idempotency key
has ``repeatable=False`` (contract §10, §14).
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from prefactor_http._http.operation import (
    DeleteOperation,
    Operation,
    RawOperation,
    Reconciliation,
    UncheckedOperation,
)
from prefactor_http._http.reconciliation import (
    was_agent_created,
    was_created,
    was_finished,
    was_registered,
    was_reinstated,
    was_retired,
    was_span_finished,
    was_started,
    was_terminated,
)
from prefactor_http.models.account import Account, AccountListResponse
from prefactor_http.models.agent import Agent, AgentSummary
from prefactor_http.models.agent_deployment import AgentDeployment
from prefactor_http.models.agent_instance import (
    AgentContextResponse,
    AgentInstance,
    AgentInstanceSummary,
)
from prefactor_http.models.agent_span import AgentSpan, AgentSpanReply, CreateTestSpansResponse
from prefactor_http.models.agent_version import AgentSchemaVersion, AgentVersion
from prefactor_http.models.alerts import AlertCount
from prefactor_http.models.api_token import ApiToken, CreatedApiToken
from prefactor_http.models.base import ApiResponse, ListResponse
from prefactor_http.models.bulk import BulkReply
from prefactor_http.models.environment import Environment
from prefactor_http.models.pfid import GeneratedPfids
from prefactor_http.models.risk_profile import RiskProfile

_PENDING = frozenset({"pending"})
_OPEN = frozenset({"pending", "active"})

PING = RawOperation("validate_token", "GET", "/api/v1/ping")

# Identifiers (contract §4)

GENERATE_PFIDS = Operation(
    "pfid.generate", "POST", "/pfid/generate", ApiResponse[GeneratedPfids], repeatable=False
)

# Agent instances (contract §7)

GET_INSTANCE = Operation(
    "agent_instances.get",
    "GET",
    "/agent_instance/{agent_instance_id}",
    ApiResponse[AgentInstance],
    bulk="agent_instances/show",
)
LIST_INSTANCES = Operation(
    "agent_instances.list",
    "GET",
    "/agent_instance",
    ListResponse[AgentInstanceSummary],
    bulk="agent_instances/list",
)
REGISTER = Operation(
    "agent_instances.register",
    "POST",
    "/agent_instance/register",
    ApiResponse[AgentInstance],
    bulk="agent_instances/register",
    reconciliation=Reconciliation(GET_INSTANCE, was_registered, creates=True),
    is_anonymous=lambda request: request.id is UNSET and request.external_identifier is UNSET,
)
START = Operation(
    "agent_instances.start",
    "POST",
    "/agent_instance/{agent_instance_id}/start",
    ApiResponse[AgentInstance],
    bulk="agent_instances/start",
    reconciliation=Reconciliation(GET_INSTANCE, was_started),
    states_before=_PENDING,
)
FINISH = Operation(
    "agent_instances.finish",
    "POST",
    "/agent_instance/{agent_instance_id}/finish",
    ApiResponse[AgentInstance],
    bulk="agent_instances/finish",
    reconciliation=Reconciliation(GET_INSTANCE, was_finished),
    states_before=_OPEN,
)
TERMINATE = Operation(
    "agent_instances.terminate",
    "POST",
    "/agent_instance/{agent_instance_id}/terminate",
    ApiResponse[AgentInstance],
    bulk="agent_instances/terminate",
    reconciliation=Reconciliation(GET_INSTANCE, was_terminated),
    states_before=_OPEN,
)
RECORD_QUALITY = Operation(
    "agent_instances.record_quality",
    "POST",
    "/agent_instance/{agent_instance_id}/record_quality",
    ApiResponse[AgentInstance],
    bulk="agent_instances/record_quality",
)

UPDATE_INSTANCE = Operation(
    "agent_instances.update",
    "PUT",
    "/agent_instance/{agent_instance_id}",
    ApiResponse[AgentInstance],
    repeatable=False,
)
GET_AGENT_CONTEXT = UncheckedOperation(
    "agent_instances.agent_context",
    "GET",
    "/agent_instance/{agent_instance_id}/agent_context",
    AgentContextResponse,
)

# Agent spans (contract §8)

# Not documented: a server may not support it. It is also used to verify unknown outcomes.
GET_SPAN = Operation("agent_spans.get", "GET", "/agent_spans/{agent_span_id}", AgentSpanReply)
LIST_SPANS = Operation(
    "agent_spans.list", "GET", "/agent_spans", ListResponse[AgentSpan], bulk="agent_spans/list"
)
CREATE_SPAN = Operation(
    "agent_spans.create",
    "POST",
    "/agent_spans",
    AgentSpanReply,
    bulk="agent_spans/create",
    reconciliation=Reconciliation(GET_SPAN, was_created, creates=True, fallback=LIST_SPANS),
    is_anonymous=lambda _: False,  # every span names its instance
)
FINISH_SPAN = Operation(
    "agent_spans.finish",
    "POST",
    "/agent_spans/{agent_span_id}/finish",
    AgentSpanReply,
    bulk="agent_spans/finish",
    reconciliation=Reconciliation(GET_SPAN, was_span_finished, fallback=LIST_SPANS),
    states_before=_OPEN,
)

CREATE_TEST_SPANS = UncheckedOperation(
    "agent_spans.create_test_spans",
    "POST",
    "/agent_spans/create_test_spans",
    CreateTestSpansResponse,
    repeatable=False,
)

# Bulk (contract §9)

BULK = Operation("bulk.execute", "POST", "/bulk", BulkReply, carries_items=True)

# Agents (contract §11)

GET_AGENT = Operation("agents.get", "GET", "/agent/{agent_id}", ApiResponse[Agent])
SHOW_AGENT = Operation("agents.show", "GET", "/agent/show", ApiResponse[Agent], bulk="agents/show")
LIST_AGENTS = Operation(
    "agents.list_agents", "GET", "/agent", ListResponse[AgentSummary], bulk="agents/list"
)
CREATE_AGENT = Operation(
    "agents.create",
    "POST",
    "/agent",
    ApiResponse[Agent],
    bulk="agents/create",
    reconciliation=Reconciliation(GET_AGENT, was_agent_created, creates=True),
)
UPDATE_AGENT = Operation(
    "agents.update", "PUT", "/agent/{agent_id}", ApiResponse[Agent], bulk="agents/update"
)
RETIRE_AGENT = Operation(
    "agents.retire",
    "POST",
    "/agent/{agent_id}/retire",
    ApiResponse[Agent],
    bulk="agents/retire",
    reconciliation=Reconciliation(GET_AGENT, was_retired),
)
REINSTATE_AGENT = Operation(
    "agents.reinstate",
    "POST",
    "/agent/{agent_id}/reinstate",
    ApiResponse[Agent],
    bulk="agents/reinstate",
    reconciliation=Reconciliation(GET_AGENT, was_reinstated),
)
DELETE_AGENT = Operation(
    "agents.delete", "DELETE", "/agent/{agent_id}", ApiResponse[Agent], bulk="agents/delete"
)

# Other resources (contract §12)

GET_ACCOUNT = Operation("accounts.get", "GET", "/account/{account_id}", ApiResponse[Account])
LIST_ACCOUNTS = UncheckedOperation("accounts.list", "GET", "/account", AccountListResponse)
UPDATE_ACCOUNT = Operation(
    "accounts.update", "PUT", "/account/{account_id}", ApiResponse[Account], repeatable=False
)
GET_ENVIRONMENT = Operation(
    "environments.get",
    "GET",
    "/environment/{environment_id}",
    ApiResponse[Environment],
    bulk="environments/show",
)
LIST_ENVIRONMENTS = Operation(
    "environments.list",
    "GET",
    "/environment",
    ListResponse[Environment],
    bulk="environments/list",
)
CREATE_ENVIRONMENT = Operation(
    "environments.create",
    "POST",
    "/environment",
    ApiResponse[Environment],
    bulk="environments/create",
    repeatable=False,
)
UPDATE_ENVIRONMENT = Operation(
    "environments.update",
    "PUT",
    "/environment/{environment_id}",
    ApiResponse[Environment],
    bulk="environments/update",
    repeatable=False,
)
DELETE_ENVIRONMENT = DeleteOperation(
    "environments.delete",
    "DELETE",
    "/environment/{environment_id}",
    ApiResponse[Environment],
    repeatable=False,
)
GET_DEPLOYMENT = Operation(
    "agent_deployments.get",
    "GET",
    "/agent_deployment/{agent_deployment_id}",
    ApiResponse[AgentDeployment],
)
LIST_DEPLOYMENTS = Operation(
    "agent_deployments.list", "GET", "/agent_deployment", ListResponse[AgentDeployment]
)
CREATE_DEPLOYMENT = Operation(
    "agent_deployments.create",
    "POST",
    "/agent_deployment",
    ApiResponse[AgentDeployment],
    repeatable=False,
)
UPDATE_DEPLOYMENT = Operation(
    "agent_deployments.update",
    "PUT",
    "/agent_deployment/{agent_deployment_id}",
    ApiResponse[AgentDeployment],
    repeatable=False,
)
DELETE_DEPLOYMENT = DeleteOperation(
    "agent_deployments.delete",
    "DELETE",
    "/agent_deployment/{agent_deployment_id}",
    ApiResponse[AgentDeployment],
    repeatable=False,
)
GET_VERSION = Operation(
    "agent_versions.get", "GET", "/agent_version/{agent_version_id}", ApiResponse[AgentVersion]
)
LIST_VERSIONS = Operation(
    "agent_versions.list", "GET", "/agent_version", ListResponse[AgentVersion]
)
CREATE_VERSION = Operation(
    "agent_versions.create", "POST", "/agent_version", ApiResponse[AgentVersion], repeatable=False
)
GET_SCHEMA_VERSION = Operation(
    "agent_schema_versions.get",
    "GET",
    "/agent_schema_version/{agent_schema_version_id}",
    ApiResponse[AgentSchemaVersion],
)
LIST_SCHEMA_VERSIONS = Operation(
    "agent_schema_versions.list",
    "GET",
    "/agent_schema_version",
    ListResponse[AgentSchemaVersion],
)

CREATE_SCHEMA_VERSION = Operation(
    "agent_schema_versions.create",
    "POST",
    "/agent_schema_version",
    ApiResponse[AgentSchemaVersion],
    repeatable=False,
)
CREATE_API_TOKEN = Operation(
    "api_tokens.create",
    "POST",
    "/api_token",
    CreatedApiToken,
    repeatable=False,
    has_secret=True,
)
SUSPEND_API_TOKEN = Operation(
    "api_tokens.suspend",
    "POST",
    "/api_token/{api_token_id}/suspend",
    ApiResponse[ApiToken],
    repeatable=False,
)
ACTIVATE_API_TOKEN = Operation(
    "api_tokens.activate",
    "POST",
    "/api_token/{api_token_id}/activate",
    ApiResponse[ApiToken],
    repeatable=False,
)
REVOKE_API_TOKEN = Operation(
    "api_tokens.revoke",
    "POST",
    "/api_token/{api_token_id}/revoke",
    ApiResponse[ApiToken],
    repeatable=False,
)
DELETE_API_TOKEN = DeleteOperation(
    "api_tokens.delete",
    "DELETE",
    "/api_token/{api_token_id}",
    ApiResponse[ApiToken],
    repeatable=False,
)
LIST_RISK_PROFILES = Operation(
    "risk_profiles.list", "GET", "/risk_profile", ListResponse[RiskProfile]
)
COUNT_ALERTS = UncheckedOperation("alerts.count", "GET", "/alerts/count", AlertCount)

BY_BULK_TYPE: dict[str, Operation[Any]] = {
    value.bulk: value for value in tuple(globals().values()) if getattr(value, "bulk", None)
}
