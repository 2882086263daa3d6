"""Agent spans: create, finish and list the steps of an instance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias, cast, get_args

from msgspec import UNSET, UnsetType

from prefactor_http import _api
from prefactor_http._http.clock import Clock
from prefactor_http._values import iso
from prefactor_http.endpoints._arguments import (
    in_utc,
    json_object,
    moment,
    one_of,
    optional_moment,
    optional_text,
    text,
    whole_number,
)
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import Page, list_page
from prefactor_http.models.agent_span import (
    AgentSpan,
    AgentSpanReply,
    CreateAgentSpanRequest,
    CreateTestSpansRequest,
    FinishSpanRequest,
)
from prefactor_http.models.base import DetailsRequest
from prefactor_http.models.types import FinishStatus, SpanStatus

ControlSignalCallback: TypeAlias = Callable[[str | None], None]
"""Called with the reason, if any, when the API wants the agent to stop (contract §8.1)."""

_STATUSES: tuple[str, ...] = get_args(SpanStatus)
_FINISH_STATUSES: tuple[str, ...] = get_args(FinishStatus)


class AgentSpanClient(EndpointClient):
    """Calls on spans (contract §8); `PrefactorHttpClient.agent_spans` is one.

    Every write takes an ``idempotency_key`` (1 to 64 printable ASCII characters, no spaces) and
    makes one when it is left out; it also takes a ``control_signal_callback``, which is called
    when the reply says that the instance was terminated, before the call returns. Every call
    raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def create(
        self,
        agent_instance_id: str,
        schema_name: str,
        status: SpanStatus,
        payload: dict[str, Any] | None = None,
        result_payload: dict[str, Any] | None = None,
        id: str | None = None,
        parent_span_id: str | None = None,
        started_at: datetime | None = None,
        finished_at: datetime | None = None,
        idempotency_key: str | None = None,
        control_signal_callback: ControlSignalCallback | None = None,
        *,
        sensitive_encoding: bool | None = None,
    ) -> AgentSpan:
        """Create a span: ``POST /agent_spans`` (contract §8).

        Args:
            agent_instance_id: Instance that it belongs to.
            schema_name: Its type, by the name in the instance's schema version.
            status: State that it starts in: ``active`` for a step under way, ``pending`` for one
                to come, or a final one for a step that is over.
            payload: What the step is given; an empty object by default.
            result_payload: What came out of it, for a final status.
            id: Id for the span; by default the API's.
            parent_span_id: Span that it is part of.
            started_at: When it started, with a time zone; for ``active``, ``complete`` and
                ``failed`` by default the moment of this call.
            finished_at: When it ended, with a time zone; for ``complete`` and ``failed`` by
                default the moment of this call.
            idempotency_key: The call's key.
            control_signal_callback: Called with the reason if the instance was terminated.
            sensitive_encoding: Whether the payloads wrap sensitive values as
                ``{"$sensitive": "string", "value": …}``.

        Returns:
            The span.

        Raises:
            TypeError: A payload is not a dict.
            ValueError: The status or the key is not allowed, a text is blank, or a moment has no
                zone.
            PrefactorConflictError: The instance is over.
        """
        status = cast("SpanStatus", one_of(text(status, "status"), "status", _STATUSES))
        started, finished = _moments(status, started_at, finished_at, self._executor.clock)
        span = _signal(
            await self._executor.send(
                _api.CREATE_SPAN,
                DetailsRequest(
                    details=CreateAgentSpanRequest(
                        agent_instance_id=text(agent_instance_id, "agent_instance_id"),
                        schema_name=text(schema_name, "schema_name"),
                        status=status,
                        payload=json_object(payload, "payload") or {},
                        result_payload=json_object(result_payload, "result_payload"),
                        id=optional_text(id, "id"),
                        parent_span_id=optional_text(parent_span_id, "parent_span_id"),
                        started_at=started,
                        finished_at=finished,
                        sensitive_encoding=_flag(sensitive_encoding),
                    ),
                    idempotency_key=self._executor.key(idempotency_key),
                ),
            ),
            control_signal_callback,
        )
        self._executor.span_instances.remember(span.id, span.agent_instance_id)
        return span

    async def finish(
        self,
        agent_span_id: str,
        status: FinishStatus | None = None,
        result_payload: dict[str, Any] | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
        control_signal_callback: ControlSignalCallback | None = None,
        *,
        sensitive_encoding: bool | None = None,
    ) -> AgentSpan:
        """Finish a span: ``POST /agent_spans/{id}/finish`` (contract §8).

        Args:
            agent_span_id: The span.
            status: ``complete`` (the API's default) or ``failed`` for an active span,
                ``cancelled`` for a pending one.
            result_payload: What came out of it.
            timestamp: When it ended, with a time zone; by default the moment of this call.
            idempotency_key: The call's key.
            control_signal_callback: Called with the reason if the instance was terminated.
            sensitive_encoding: Whether the result wraps sensitive values.

        Returns:
            The span in its final state.

        Raises:
            TypeError: The result is not a dict.
            ValueError: The status or the key is not allowed, or the timestamp has no zone.
            PrefactorConflictError: The span's state does not allow it.
        """
        status = one_of(status, "status", _FINISH_STATUSES)
        span = _signal(
            await self._executor.send(
                _api.FINISH_SPAN,
                FinishSpanRequest(
                    status=UNSET if status is None else status,
                    result_payload=json_object(result_payload, "result_payload"),
                    timestamp=moment(timestamp, self._executor.clock),
                    sensitive_encoding=_flag(sensitive_encoding),
                    idempotency_key=self._executor.key(idempotency_key),
                ),
                agent_span_id,
            ),
            control_signal_callback,
        )
        self._executor.span_instances.forget(span.id)
        return span

    async def get(self, agent_span_id: str) -> AgentSpan:
        """Read a span: ``GET /agent_spans/{id}`` (contract §8).

        The API's documentation does not list this call; a server may answer it with a 404.

        Args:
            agent_span_id: The span.

        Returns:
            The span.
        """
        return (await self._executor.send(_api.GET_SPAN, None, agent_span_id)).details

    async def list(
        self,
        agent_instance_id: str | None = None,
        agent_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        include_summaries: bool = False,
        include_risk_level: bool = False,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[AgentSpan]:
        """List spans of an instance or of an agent: ``GET /agent_spans`` (contract §2, §8).

        Args:
            agent_instance_id: Only those of this instance.
            agent_id: Only those of this agent.
            start_time: Only those that started then or later, with a time zone.
            end_time: Only those that started then or earlier, with a time zone.
            include_summaries: Whether to render each span as text.
            include_risk_level: Whether to say how risky each span is.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Items to skip, from 0.
            page_size: Items on a page, 1 to 100; 50 by default.

        Returns:
            The page; ``async for`` over it goes through all later pages too.

        Raises:
            ValueError: Neither id is given, a moment has no zone, or the offset or the page size
                is out of range.
        """
        if agent_instance_id is None and agent_id is None:
            raise ValueError("agent_spans.list needs agent_instance_id or agent_id")
        filters = {
            "agent_instance_id": agent_instance_id,
            "agent_id": agent_id,
            "start_time": _as_text(start_time, "start_time"),
            "end_time": _as_text(end_time, "end_time"),
            "include_summaries": "true" if include_summaries else None,
            "include_risk_level": "true" if include_risk_level else None,
        }
        return await list_page(self._executor, _api.LIST_SPANS, filters, sorting, offset, page_size)

    async def create_test_spans(
        self,
        agent_instance_id: str,
        count: int | None = None,
        parent_span_id: str | None = None,
    ) -> None:
        """Create spans for a test: ``POST /agent_spans/create_test_spans`` (contract §8).

        The API documents no idempotency key for this call, so it is not repeated after an attempt
        with an unknown outcome. If the error has ``outcome_unknown``, count the spans of `list`
        before calling it again. Its response is not documented: read the spans with `list`.

        Args:
            agent_instance_id: Instance of the spans.
            count: Number of spans, 1 or more; by default the API's.
            parent_span_id: Parent of the spans; by default they have none.

        Raises:
            TypeError: ``count`` is not an int, or an id is not a str.
            ValueError: ``count`` is out of range, or an id is blank.
        """
        number = whole_number(count, "count", 1, None)
        await self._executor.send(
            _api.CREATE_TEST_SPANS,
            CreateTestSpansRequest(
                agent_instance_id=text(agent_instance_id, "agent_instance_id"),
                count=UNSET if number is None else number,
                parent_span_id=optional_text(parent_span_id, "parent_span_id"),
            ),
        )


def _signal(reply: AgentSpanReply, callback: ControlSignalCallback | None) -> AgentSpan:
    if callback is not None and reply.control is not None and reply.control.terminate:
        callback(reply.control.reason)
    return reply.details


def _moments(
    status: SpanStatus, started_at: datetime | None, finished_at: datetime | None, clock: Clock
) -> tuple[datetime | UnsetType, datetime | UnsetType]:
    """Say when a span started and ended where the API would say now: a retry may be late.

    A pending span has neither moment, and what those of a cancelled one are is for the API to say.
    """
    started = optional_moment(started_at, "started_at")
    finished = optional_moment(finished_at, "finished_at")
    if status in {"pending", "cancelled"}:
        return started, finished
    now = clock.utcnow()
    # The two may not cross, whatever other clock the given one was read from.
    if started is UNSET:
        started = now if finished is UNSET else min(now, finished)
    if finished is UNSET and status != "active":
        finished = max(now, started)
    return started, finished


def _flag(given: bool | None) -> bool | UnsetType:
    return UNSET if given is None else given


def _as_text(given: datetime | None, name: str) -> str | None:
    return None if given is None else iso(in_utc(given, name))


__all__ = ["AgentSpanClient", "ControlSignalCallback"]
