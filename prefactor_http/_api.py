"""The API at a glance: every call that this package makes, by its resource."""

from __future__ import annotations

from prefactor_http._operation import Operation, RawOperation, Settlement
from prefactor_http.models.agent_instance import (
    AgentInstance,
    AgentInstanceSummary,
    FinishInstanceRequest,
    TerminateInstanceRequest,
    TimestampRequest,
)
from prefactor_http.models.base import ApiResponse, ListResponse

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
)


def _has_started(_: TimestampRequest, instance: AgentInstance) -> bool | None:
    # Only `active` leads to complete and failed, only `pending` to cancelled. A terminated one may
    # or may not have been started by this very call.
    if instance.status in {"active", "complete", "failed"}:
        return True
    return False if instance.status in {"pending", "cancelled"} else None


def _has_finished(request: FinishInstanceRequest, instance: AgentInstance) -> bool:
    return instance.status == (request.status or "complete")


def _has_terminated(request: TerminateInstanceRequest, instance: AgentInstance) -> bool:
    return instance.status == "terminated" and instance.termination_reason == request.reason


START = Operation(
    "agent_instances.start",
    "POST",
    "/agent_instance/{agent_instance_id}/start",
    ApiResponse[AgentInstance],
    bulk="agent_instances/start",
    settlement=Settlement(GET_INSTANCE, _has_started),
)
FINISH = Operation(
    "agent_instances.finish",
    "POST",
    "/agent_instance/{agent_instance_id}/finish",
    ApiResponse[AgentInstance],
    bulk="agent_instances/finish",
    settlement=Settlement(GET_INSTANCE, _has_finished),
)
TERMINATE = Operation(
    "agent_instances.terminate",
    "POST",
    "/agent_instance/{agent_instance_id}/terminate",
    ApiResponse[AgentInstance],
    bulk="agent_instances/terminate",
    settlement=Settlement(GET_INSTANCE, _has_terminated),
)
RECORD_QUALITY = Operation(
    "agent_instances.record_quality",
    "POST",
    "/agent_instance/{agent_instance_id}/record_quality",
    ApiResponse[AgentInstance],
    bulk="agent_instances/record_quality",
)
