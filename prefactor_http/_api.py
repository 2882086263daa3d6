"""Table of all API operations of this client, by resource."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from prefactor_http._http.operation import Operation, RawOperation, Reconciliation
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
from prefactor_http.models.account import Account
from prefactor_http.models.agent import Agent, AgentSummary
from prefactor_http.models.agent_deployment import AgentDeployment
from prefactor_http.models.agent_instance import AgentInstance, AgentInstanceSummary
from prefactor_http.models.agent_span import AgentSpan, AgentSpanReply
from prefactor_http.models.agent_version import AgentSchemaVersion, AgentVersion
from prefactor_http.models.base import ApiResponse, ListResponse
from prefactor_http.models.bulk import BulkReply
from prefactor_http.models.environment import Environment

_PENDING = frozenset({"pending"})
_OPEN = frozenset({"pending", "active"})

PING = RawOperation("validate_token", "GET", "/api/v1/ping")

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
    is_anonymous=lambda _: False,  # it names its instance
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

# Accounts, environments, deployments and versions, read only (contract §12)

GET_ACCOUNT = Operation("accounts.get", "GET", "/account/{account_id}", ApiResponse[Account])
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
GET_DEPLOYMENT = Operation(
    "agent_deployments.get",
    "GET",
    "/agent_deployment/{agent_deployment_id}",
    ApiResponse[AgentDeployment],
)
LIST_DEPLOYMENTS = Operation(
    "agent_deployments.list", "GET", "/agent_deployment", ListResponse[AgentDeployment]
)
GET_VERSION = Operation(
    "agent_versions.get", "GET", "/agent_version/{agent_version_id}", ApiResponse[AgentVersion]
)
LIST_VERSIONS = Operation(
    "agent_versions.list", "GET", "/agent_version", ListResponse[AgentVersion]
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

BY_BULK_TYPE: dict[str, Operation[Any]] = {
    value.bulk: value for value in tuple(globals().values()) if getattr(value, "bulk", None)
}
