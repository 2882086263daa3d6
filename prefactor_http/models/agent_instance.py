"""Agent instances (contract §7)."""

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
    """The number of spans of an instance, by status.

    Attributes:
        total: All spans.
        pending: Spans that have not started.
        active: Running spans.
        complete: Spans that succeeded.
        failed: Spans that failed.
        cancelled: Spans that were cancelled before they started.
        finished: All spans that have ended.
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
        id: Id of the instance.
        account_id: Account of the instance.
        agent_id: Agent of the instance.
        agent_version_id: Version of the agent.
        environment_id: Environment of the instance.
        status: An ``AgentStatus``, or a value that the API added later.
        inserted_at: When it was registered.
        updated_at: When it last changed.
        agent_deployment_id: Deployment of the instance; None in older responses.
        started_at: When it started; None while pending.
        finished_at: When it finished; None while pending or active.
        termination_reason: Reason of the termination.
        external_identifier: The caller's name for the instance, unique per agent.
        purpose: An ``InstancePurpose``, or a value that the API added later.
        span_counts: Number of spans by status.
        quality_payloads: Recorded payloads by the name of their quality schema.
        quality_summaries: The payloads as text.
        cost_breakdown: Cost of the run.
        span_schema_counts: Number of spans by span type.
        risk_score: Risk score of the run.
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
    """An agent instance in a list; see `AgentInstance`.

    Attributes:
        type: ``agent_instance``.
        id: Id of the instance.
        account_id: Account of the instance.
        agent_id: Agent of the instance.
        agent_version_id: Version of the agent.
        environment_id: Environment of the instance.
        status: An ``AgentStatus``, or a value that the API added later.
        inserted_at: When it was registered.
        updated_at: When it last changed.
        started_at: When it started; None while pending.
        finished_at: When it finished; None while pending or active.
        termination_reason: Reason of the termination.
        purpose: An ``InstancePurpose``, or a value that the API added later.
        risk_score: Risk score of the run.
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
    """Body of a register (contract §7.1). Fields that are left out are not sent.

    Attributes:
        agent_id: Agent of the instance; left out with a deployment token.
        environment_id: Environment of the instance; left out with a deployment token.
        agent_version: Version of the agent, as a Struct, a dict or encoded JSON.
        agent_schema_version: Span types, as a Struct, a dict or encoded JSON.
        id: Id chosen by the caller, with the partition of the account.
        external_identifier: The caller's name for the instance, unique per agent.
        purpose: Purpose of the instance; the API's default is ``live``.
        update_current_version: Whether to pin this version on the deployment.
        idempotency_key: Idempotency key of the call.
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
        timestamp: When it happened; as text, ISO 8601 with a time zone.
        idempotency_key: Idempotency key of the call.
    """

    timestamp: str | datetime | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


class FinishInstanceRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a finish (contract §7.2).

    Attributes:
        status: Final status; the API's default is ``complete``.
        timestamp: When it happened; as text, ISO 8601 with a time zone.
        idempotency_key: Idempotency key of the call.
    """

    status: FinishStatus | UnsetType | None = UNSET
    timestamp: str | datetime | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


class TerminateInstanceRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a terminate (contract §7.2).

    Attributes:
        reason: Reason of the termination; not blank.
        idempotency_key: Idempotency key of the call.
    """

    reason: str
    idempotency_key: str | UnsetType = UNSET


class AgentInstanceRecordQuality(Struct, frozen=True, kw_only=True):
    """Body of a record_quality (contract §7.2).

    Attributes:
        name: Name of the quality schema.
        payload: The payload. None removes the recorded payload of this name.
        idempotency_key: Idempotency key of the call.
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
