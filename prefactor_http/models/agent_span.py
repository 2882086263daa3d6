"""Agent spans (contract §8)."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from prefactor_http.models._datetime import datetime
from prefactor_http.models.base import Control
from prefactor_http.models.types import FinishStatus, SpanStatus


class AgentSpan(Struct, frozen=True, kw_only=True):
    """One step of an agent instance.

    Attributes:
        type: ``agent_span``.
        id: Id of the span.
        agent_instance_id: Instance of the span.
        schema_name: Name of the span type in the instance's schema version.
        status: A ``SpanStatus``, or a value that the API added later.
        account_id: Account of the span; None if the response does not contain it.
        agent_id: Agent of the span; None if the response does not contain it.
        parent_span_id: Parent of the span; None for a root span.
        schema_title: Display name of the span type.
        payload: Input of the step.
        result_payload: Result of the step; None while pending or active.
        summary: The span as text.
        started_at: When it started; None while pending.
        finished_at: When it finished; None while pending or active.
        inserted_at: When it was created; None if the response does not contain it.
        updated_at: When it last changed; None if the response does not contain it.
        purpose: Purpose of the instance; only in lists.
        risk_level: ``low``, ``medium``, ``high`` or ``critical``; only in lists.
        risk_score: Risk score of the step; only in lists.
        sensitive_encoding: Whether the payloads wrap sensitive values; only in lists.
        payload_byte_size_estimate: Estimated size of the payloads in bytes; only in lists.
    """

    type: str
    id: str
    agent_instance_id: str
    schema_name: str
    status: str
    account_id: str | None = None
    agent_id: str | None = None
    parent_span_id: str | None = None
    schema_title: str | None = None
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    result_payload: dict[str, Any] | None = None
    summary: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None
    purpose: str | None = None
    risk_level: str | None = None
    risk_score: float | None = None
    sensitive_encoding: bool | None = None
    payload_byte_size_estimate: int | None = None


class AgentSpanReply(Struct, frozen=True, kw_only=True):
    """Response to a create or finish of a span, with the control signal (contract §8.1).

    Attributes:
        status: ``success``.
        details: The span.
        control: Control signal; None if the response does not contain one.
    """

    status: str = "success"
    details: AgentSpan
    control: Control | None = None

    @property
    def result(self) -> "AgentSpanReply":
        """The response itself: the control signal is part of the result."""
        return self


class CreateAgentSpanRequest(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Fields of a new span. They are sent as ``details``, beside the idempotency key.

    Attributes:
        agent_instance_id: Instance of the span.
        schema_name: Name of the span type in the instance's schema version.
        status: Initial status.
        payload: Input of the step.
        result_payload: Result of the step, for a final status.
        id: Id chosen by the caller, with the partition of the account.
        parent_span_id: Parent of the span.
        started_at: When it started; as text, ISO 8601 with a time zone. The API's default is now.
        finished_at: When it finished; as text, ISO 8601 with a time zone.
        sensitive_encoding: Whether the payloads wrap sensitive values.
        idempotency_key: Not used by this client, which sends the key of the `DetailsRequest`.
    """

    agent_instance_id: str
    schema_name: str
    status: SpanStatus
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    result_payload: dict[str, Any] | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    parent_span_id: str | UnsetType | None = UNSET
    started_at: str | datetime | UnsetType | None = UNSET
    finished_at: str | datetime | UnsetType | None = UNSET
    sensitive_encoding: bool | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


class CreateTestSpansRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a create_test_spans.

    Attributes:
        agent_instance_id: Instance of the spans.
        count: Number of spans.
        parent_span_id: Parent of the spans.
    """

    agent_instance_id: str
    count: int | UnsetType = UNSET
    parent_span_id: str | UnsetType = UNSET


class CreateTestSpansResponse(Struct, frozen=True, kw_only=True, gc=False):
    """Response of a create_test_spans; its other fields are not documented.

    Attributes:
        status: ``success``.
    """

    status: str = "success"

    @property
    def result(self) -> None:
        """Nothing."""


class FinishSpanRequest(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Body of a finish of a span (contract §8).

    Attributes:
        status: Final status; the API's default is ``complete``.
        result_payload: Result of the step.
        timestamp: When it finished; as text, ISO 8601 with a time zone.
        sensitive_encoding: Whether the result wraps sensitive values.
        idempotency_key: Idempotency key of the call.
    """

    status: FinishStatus | UnsetType | None = UNSET
    result_payload: dict[str, Any] | UnsetType | None = UNSET
    timestamp: str | datetime | UnsetType | None = UNSET
    sensitive_encoding: bool | UnsetType | None = UNSET
    idempotency_key: str | UnsetType = UNSET


__all__ = [
    "AgentSpan",
    "AgentSpanReply",
    "CreateAgentSpanRequest",
    "CreateTestSpansRequest",
    "CreateTestSpansResponse",
    "FinishSpanRequest",
]
