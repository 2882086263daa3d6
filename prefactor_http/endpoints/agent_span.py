"""Agent spans: create, finish and read the steps of an instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias, cast, get_args

from msgspec import UNSET, UnsetType

from prefactor_http import _api
from prefactor_http._http.clock import Clock
from prefactor_http._values.numbers import optional_integer
from prefactor_http._values.plain import iso
from prefactor_http.endpoints._arguments import (
    json_object,
    one_of,
    optional_text,
    optional_timestamp,
    text,
    timestamp_or_now,
    to_utc,
)
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, list_call
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
"""Called with the reason, if any, when the instance was terminated (contract §8.1)."""

_STATUSES: tuple[str, ...] = get_args(SpanStatus)
_FINISH_STATUSES: tuple[str, ...] = get_args(FinishStatus)


class AgentSpanClient(EndpointClient):
    """Calls on spans (contract §8), available as `PrefactorHttpClient.agent_spans`.

    `create` and `finish` take an ``idempotency_key`` (1 to 64 printable ASCII characters, no
    spaces), or create one. They also take a ``control_signal_callback``, which is called before the
    call returns if the response says that the instance was terminated. Every call raises
    `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def create(
        self,
        agent_instance_id: str,
        schema_name: str,
        status: SpanStatus,
        payload: Mapping[str, object] | None = None,
        result_payload: Mapping[str, object] | None = None,
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
            agent_instance_id: Instance of the span.
            schema_name: Name of the span type in the instance's schema version.
            status: Initial status: ``active``, ``pending``, or a final status for a step that has
                already finished.
            payload: Input of the step; an empty object by default.
            result_payload: Result of the step, for a final status.
            id: Id of the span, from `idempotency.new_id`; by default the API generates it.
            parent_span_id: Parent of the span.
            started_at: When the step started, with a time zone; for ``active``, ``complete`` and
                ``failed`` by default the time of this call.
            finished_at: When the step finished, with a time zone; for ``complete`` and ``failed``
                by default the time of this call.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.
            control_signal_callback: Called with the reason if the instance was terminated.
            sensitive_encoding: Whether the payloads wrap sensitive values as
                ``{"$sensitive": "string", "value": …}``.

        Returns:
            The new span.

        Raises:
            TypeError: A payload is not a dict.
            ValueError: The status or the idempotency key is not allowed, a text is blank, or a
                timestamp has no time zone.
            PrefactorConflictError: The instance has finished.
        """
        status = cast("SpanStatus", one_of(text(status, "status"), "status", _STATUSES))
        started, finished = _timestamps(status, started_at, finished_at, self._executor.clock)
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
        result_payload: Mapping[str, object] | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
        control_signal_callback: ControlSignalCallback | None = None,
        *,
        sensitive_encoding: bool | None = None,
    ) -> AgentSpan:
        """Finish a span: ``POST /agent_spans/{id}/finish`` (contract §8).

        Args:
            agent_span_id: Id of the span.
            status: ``complete`` (default) or ``failed`` for an active span, ``cancelled`` for a
                pending one.
            result_payload: Result of the step.
            timestamp: When the step finished, with a time zone; by default the time of this call.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.
            control_signal_callback: Called with the reason if the instance was terminated.
            sensitive_encoding: Whether the result wraps sensitive values.

        Returns:
            The span in its final state.

        Raises:
            TypeError: The result is not a dict.
            ValueError: The status or the idempotency key is not allowed, or the timestamp has no
                time zone.
            PrefactorConflictError: The state of the span does not allow it.
        """
        status = one_of(status, "status", _FINISH_STATUSES)
        span = _signal(
            await self._executor.send(
                _api.FINISH_SPAN,
                FinishSpanRequest(
                    status=UNSET if status is None else status,
                    result_payload=json_object(result_payload, "result_payload"),
                    timestamp=timestamp_or_now(timestamp, self._executor.clock),
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

        The API does not document this call; a server may respond with 404.

        Args:
            agent_span_id: Id of the span.

        Returns:
            The span.

        Raises:
            PrefactorNotFoundError: There is no such span, or the API does not know the call.
        """
        return (await self._executor.send(_api.GET_SPAN, None, agent_span_id)).details

    def list(
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
    ) -> ListCall[AgentSpan]:
        """List spans of an instance or of an agent: ``GET /agent_spans`` (contract §2, §8).

        Args:
            agent_instance_id: Only spans of this instance.
            agent_id: Only spans of this agent.
            start_time: Only spans that started at this time or later, with a time zone.
            end_time: Only spans that started at this time or earlier, with a time zone.
            include_summaries: Whether to include each span as text.
            include_risk_level: Whether to include the risk level of each span.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: Neither id is given, a timestamp has no time zone, or the offset or the page
                size is out of range.
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
        return list_call(self._executor, _api.LIST_SPANS, filters, sorting, offset, page_size)

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
        number = optional_integer(count, "count", 1)
        await self._executor.send(
            _api.CREATE_TEST_SPANS,
            CreateTestSpansRequest(
                agent_instance_id=text(agent_instance_id, "agent_instance_id"),
                count=UNSET if number is None else number,
                parent_span_id=optional_text(parent_span_id, "parent_span_id"),
            ),
        )


def _signal(response: AgentSpanReply, callback: ControlSignalCallback | None) -> AgentSpan:
    if callback is not None and response.control is not None and response.control.terminate:
        callback(response.control.reason)
    return response.details


def _timestamps(
    status: SpanStatus, started_at: datetime | None, finished_at: datetime | None, clock: Clock
) -> tuple[datetime | UnsetType, datetime | UnsetType]:
    """Fill in the current time where the API would, so that a late retry does not move the span.

    A pending span has no timestamps, and the API sets those of a cancelled one.
    """
    started = optional_timestamp(started_at, "started_at")
    finished = optional_timestamp(finished_at, "finished_at")
    if status in {"pending", "cancelled"}:
        return started, finished
    now = clock.utcnow()
    # The finish must not precede the start, even if the caller read another clock.
    if started is UNSET:
        started = now if finished is UNSET else min(now, finished)
    if finished is UNSET and status != "active":
        finished = max(now, started)
    return started, finished


def _flag(given: bool | None) -> bool | UnsetType:
    return UNSET if given is None else given


def _as_text(given: datetime | None, name: str) -> str | None:
    return None if given is None else iso(to_utc(given, name))


__all__ = ["AgentSpanClient", "ControlSignalCallback"]
