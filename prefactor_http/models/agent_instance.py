"""Agent instances: what the API tells about them, and what is sent to it (contract §7)."""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime
from prefactor_http.models.data_risk import ActionProfile, DataCategories, DataRisk
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    QualitySchemaDetails,
    QualitySchemaForCreate,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
)
from prefactor_http.models.types import FinishStatus, InstancePurpose


class AgentInstanceSpanCounts(Struct, frozen=True, kw_only=True, gc=False):
    """How many spans an instance has.

    Attributes:
        total: All of them.
        pending: Those not started.
        active: Those that run.
        complete: Those that ended well.
        failed: Those that failed.
        cancelled: Those cancelled before they started.
        finished: Complete, failed and cancelled ones together.
    """

    total: int = 0
    pending: int = 0
    active: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    finished: int = 0


class AgentInstance(Struct, frozen=True, kw_only=True, gc=False):
    """One run of an agent.

    Attributes:
        type: ``agent_instance``.
        id: Its id.
        account_id: Account that it belongs to.
        agent_id: Agent that runs.
        agent_version_id: Version of the agent.
        environment_id: Environment that it runs in.
        status: State of the run, an ``AgentStatus`` or one that the API learned later.
        inserted_at: When it was registered.
        updated_at: When it last changed.
        agent_deployment_id: Deployment that it runs under; None in older replies.
        started_at: When it started; None while it is pending.
        finished_at: When it ended; None while it is open.
        termination_reason: Why it was terminated.
        external_identifier: The caller's name for it, unique for the agent.
        purpose: Why it runs, an ``InstancePurpose`` or one that the API learned later.
        span_counts: How many spans it has.
        quality_payloads: Recorded payloads by the name of the quality schema.
        quality_summaries: The same, rendered as text.
        cost_breakdown: What the run cost.
        span_schema_counts: Spans by their type.
        risk_score: How risky the API takes the run to be.
    """

    type: str
    id: str
    account_id: str
    agent_id: str
    agent_version_id: str
    environment_id: str
    status: str
    inserted_at: datetime
    updated_at: datetime
    agent_deployment_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    termination_reason: str | None = None
    external_identifier: str | None = None
    purpose: str | None = None
    span_counts: AgentInstanceSpanCounts | None = None
    quality_payloads: dict[str, dict[str, Any]] | None = None
    quality_summaries: dict[str, str] | None = None
    cost_breakdown: dict[str, Any] | None = None
    span_schema_counts: dict[str, Any] | None = None
    risk_score: float | None = None


class AgentInstanceSummary(Struct, frozen=True, kw_only=True, gc=False):
    """An instance as lists show it; see :class:`AgentInstance` for the fields.

    Attributes:
        type: ``agent_instance``.
        id: Its id.
        account_id: Account that it belongs to.
        agent_id: Agent that runs.
        agent_version_id: Version of the agent.
        environment_id: Environment that it runs in.
        status: State of the run.
        inserted_at: When it was registered.
        updated_at: When it last changed.
        started_at: When it started; None while it is pending.
        finished_at: When it ended; None while it is open.
        termination_reason: Why it was terminated.
        purpose: Why it runs.
        risk_score: How risky the API takes the run to be.
    """

    type: str
    id: str
    account_id: str
    agent_id: str
    agent_version_id: str
    environment_id: str
    status: str
    inserted_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    termination_reason: str | None = None
    purpose: str | None = None
    risk_score: float | None = None


class RegisterAgentInstanceRequest(Struct, frozen=True, kw_only=True):
    """Body of a register (contract §7.1). What is left out is not sent.

    Attributes:
        agent_id: Agent that runs; left out with a deployment's token.
        environment_id: Environment that it runs in; left out with a deployment's token.
        agent_version: Version of the agent, also as a dict or as JSON already encoded.
        agent_schema_version: Types of its spans, also as a dict or as JSON already encoded.
        id: Id chosen by the caller.
        external_identifier: The caller's name for the instance, unique for the agent.
        purpose: Why it runs.
        update_current_version: Whether the deployment is to run this version from now on.
        idempotency_key: The call's key.
    """

    agent_id: str | UnsetType | None = UNSET
    environment_id: str | UnsetType | None = UNSET
    agent_version: AgentVersionForRegister | dict[str, Any] | Raw | UnsetType = UNSET
    agent_schema_version: AgentSchemaVersionForRegister | dict[str, Any] | Raw | UnsetType = UNSET
    id: str | UnsetType | None = UNSET
    external_identifier: str | UnsetType | None = UNSET
    purpose: InstancePurpose | UnsetType | None = UNSET
    update_current_version: bool | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


class AgentContext(Struct, frozen=True, kw_only=True):
    """Debugging export of an instance.

    Attributes:
        body: The export, in whatever form the API sent it.
    """

    body: Any = None


class AgentContextResponse(Struct, frozen=True, kw_only=True):
    """Response to a read of an instance's agent context.

    Attributes:
        status: ``success``.
        agent_context: The export.
    """

    status: str = "success"
    agent_context: AgentContext

    @property
    def result(self) -> AgentContext:
        """The export."""
        return self.agent_context


class AgentInstanceForUpdate(CheckedModel, frozen=True, kw_only=True):
    """Fields of the older quality write, which replaces all recorded payloads.

    Attributes:
        quality_payload: The payload.

    Raises:
        ValueError: The payload is not a dict.
    """

    quality_payload: dict[str, Any]


class TimestampRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a start (contract §7.2).

    Attributes:
        timestamp: When it happened, ISO 8601 with its zone.
        idempotency_key: The call's key.
    """

    timestamp: str | datetime | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


class FinishInstanceRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a finish (contract §7.2).

    Attributes:
        status: How it ended; the API takes ``complete`` where nothing is said.
        timestamp: When it happened, ISO 8601 with its zone.
        idempotency_key: The call's key.
    """

    status: FinishStatus | UnsetType | None = UNSET
    timestamp: str | datetime | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


class TerminateInstanceRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a terminate (contract §7.2).

    Attributes:
        reason: Why, not blank.
        idempotency_key: The call's key.
    """

    reason: str
    idempotency_key: str | UnsetType = UNSET


class AgentInstanceRecordQuality(Struct, frozen=True, kw_only=True):
    """Body of a record_quality (contract §7.2).

    Attributes:
        name: Name of the quality schema.
        payload: The payload; None removes the one recorded under this name.
        idempotency_key: The call's key.
    """

    name: str
    payload: dict[str, Any] | None = None
    idempotency_key: str | UnsetType = UNSET


__all__ = [
    "ActionProfile",
    "AgentContext",
    "AgentContextResponse",
    "AgentInstance",
    "AgentInstanceForUpdate",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentInstanceSummary",
    "AgentSchemaVersionForRegister",
    "AgentVersionForRegister",
    "DataCategories",
    "DataRisk",
    "FinishInstanceRequest",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "RegisterAgentInstanceRequest",
    "RuntimeEnvironment",
    "SpanTypeSchemaForCreate",
    "TerminateInstanceRequest",
    "TimestampRequest",
]
