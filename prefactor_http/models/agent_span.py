"""Spans: what the API tells about them, and what is sent to it (contract §8)."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from prefactor_http.models._datetime import datetime
from prefactor_http.models.base import Control
from prefactor_http.models.types import FinishStatus, SpanStatus


class AgentSpan(Struct, frozen=True, kw_only=True):
    """One step of an agent instance.

    Attributes:
        type: ``agent_span``.
        id: Its id.
        agent_instance_id: Instance that it belongs to.
        schema_name: Its type, by the name in the instance's schema version.
        status: State of the step, a ``SpanStatus`` or one that the API learned later.
        account_id: Account that it belongs to; None where the reply does not say.
        agent_id: Agent that runs; None where the reply does not say.
        parent_span_id: Span that it is part of; None at the root.
        schema_title: Its type, named for people.
        payload: What the step was given.
        result_payload: What came out of it; None while it is open.
        summary: The step rendered as text.
        started_at: When it started; None while it is pending.
        finished_at: When it ended; None while it is open.
        inserted_at: When it was created; None where the reply does not say.
        updated_at: When it last changed; None where the reply does not say.
        purpose: Why its instance runs; in lists.
        risk_level: ``low``, ``medium``, ``high`` or ``critical``; in lists.
        risk_score: How risky the API takes the step to be; in lists.
        sensitive_encoding: Whether its payloads wrap sensitive values; in lists.
        payload_byte_size_estimate: About how large its payloads are, in bytes; in lists.
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
    """Reply to a span's create or finish: the span, and what the API wants of its agent (§8.1).

    Attributes:
        status: ``success``.
        details: The span.
        control: Control signal; None where the reply had none.
    """

    status: str = "success"
    details: AgentSpan
    control: Control | None = None

    @property
    def result(self) -> "AgentSpanReply":
        """The reply itself: the signal in it is half of the result."""
        return self


class CreateAgentSpanRequest(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Fields of a new span; they go out inside ``details``, with the call's key beside it.

    Attributes:
        agent_instance_id: Instance that it belongs to.
        schema_name: Its type.
        status: State that it starts in, mostly ``active``.
        payload: What the step is given.
        result_payload: What came out of it, for a span that is created finished.
        id: Id chosen by the caller.
        parent_span_id: Span that it is part of.
        started_at: When it started, ISO 8601 with its zone; the API takes now if left out.
        finished_at: When it ended, ISO 8601 with its zone.
        sensitive_encoding: Whether its payloads wrap sensitive values.
        idempotency_key: Left out by this client, whose key is a :class:`DetailsRequest`'s.
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
    """Body of a span's finish.

    Attributes:
        status: How it ended; the API takes ``complete`` where nothing is said.
        result_payload: What came out of it.
        timestamp: When it ended, ISO 8601 with its zone.
        sensitive_encoding: Whether the result wraps sensitive values.
        idempotency_key: The call's key.
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
