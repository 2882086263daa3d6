"""OpenTelemetry instrumentation: a span for each call, and metrics. Needs the extra ``otel``.

`PrefactorHttpInstrumentor().instrument()` instruments all clients of the process, and so does
``opentelemetry-instrument python worker.py``, which finds it by its entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # untyped
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.propagate import inject
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.observer import installed
from prefactor_http._version import PACKAGE_VERSION
from prefactor_http.events import Attempt, Retry, Throttling
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorHttpError,
    PrefactorRetryExhaustedError,
)
from prefactor_http.outbox import metrics as outboxes

T = TypeVar("T")

_NAME = "prefactor_http"
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
_OPERATION = "prefactor.operation"
_KEY = "prefactor.idempotency_key"
_OUTCOME = "prefactor.outcome"
_ITEMS = "prefactor.bulk.items"
_FILE = "prefactor.outbox.file"
_OUTBOX_GAUGES = (
    ("pending", "{write}", "Writes that wait in the outbox."),
    ("bytes", "By", "Size of the bodies of these writes."),
    ("dead", "{write}", "Dead letters."),
    ("oldest_age", "s", "Age of the oldest write that waits; 0 if none does."),
)
_OUTBOX_COUNTERS = (
    ("delivered", "{write}", "Writes that were delivered since the file was created."),
    ("dropped", "{write}", "Writes that were dropped to make room."),
)
# Seconds, as the semantic conventions give them for HTTP durations.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_COUNTS = (1, 2, 3, 4, 5, 8, 13)
_PORTS = {"http": 80, "https": 443}


class PrefactorHttpInstrumentor(BaseInstrumentor):  # type: ignore[misc] # untyped base class
    """Instruments all clients of the process.

    Each call becomes a CLIENT span named after its operation, such as
    ``agent_instances.register``, with an event for each attempt. A batch has a span for each
    request, not for each item. With automatic batching, the span of a call has a link to that of
    each bulk request that contained it. The request carries ``traceparent``. Together with
    ``opentelemetry-instrumentation-aiohttp-client``, the spans of the attempts are children of
    the call's span, and ``http.client.request.duration`` is recorded once.

    Metrics: ``prefactor.client.call.duration``, ``prefactor.client.attempts``,
    ``prefactor.client.retries``, ``prefactor.client.throttled``,
    ``prefactor.client.unknown_outcomes``, ``prefactor.bulk.items``,
    ``prefactor.bulk.items.in_flight`` and ``http.client.request.duration``; for each open outbox
    ``prefactor.outbox.pending``, ``bytes``, ``dead``, ``oldest_age``, ``delivered``
    and ``dropped``.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the packages that have to be installed: none beside this one."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        installed.observer = _Observer(kwargs.get("tracer_provider"), kwargs.get("meter_provider"))

    def _uninstrument(self, **_: Any) -> None:
        installed.observer = None


class _Observer:
    """Turns what a client reports into spans and metrics."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, PACKAGE_VERSION, tracer_provider, _SCHEMA_URL)
        meter = metrics.get_meter(_NAME, PACKAGE_VERSION, meter_provider, _SCHEMA_URL)
        self._duration = meter.create_histogram(
            "prefactor.client.call.duration",
            "s",
            "Duration of calls, retries and waits included.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._attempts = meter.create_histogram(
            "prefactor.client.attempts",
            "{attempt}",
            "Attempts of a call.",
            explicit_bucket_boundaries_advisory=_COUNTS,
        )
        self._request_duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._retries = meter.create_counter(
            "prefactor.client.retries", "{retry}", "Retries, by the reason of the failure before."
        )
        self._throttled = meter.create_counter(
            "prefactor.client.throttled", "s", "Time that calls waited for the rate limiter."
        )
        self._unknown = meter.create_counter(
            "prefactor.client.unknown_outcomes",
            "{call}",
            "Calls that failed although they may have taken effect.",
        )
        self._items = meter.create_counter(
            _ITEMS, "{item}", "Items of batches, by the state in which they ended."
        )
        self._in_flight = meter.create_up_down_counter(
            "prefactor.bulk.items.in_flight", "{item}", "Items of batches that have no outcome yet."
        )
        for field, unit, description in _OUTBOX_GAUGES:
            meter.create_observable_gauge(
                f"prefactor.outbox.{field}", [self._reader(field)], unit, description
            )
        for field, unit, description in _OUTBOX_COUNTERS:
            meter.create_observable_counter(
                f"prefactor.outbox.{field}", [self._reader(field)], unit, description
            )

    def _reader(self, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return a callback that reads a field of the counters of each open outbox."""

        def read(_options: CallbackOptions) -> Iterator[Observation]:
            if installed.observer is not self:  # not instrumented anymore
                return
            for path, stats in outboxes.read_all():
                value = getattr(stats, field)
                yield Observation(0 if value is None else value, {_FILE: path.name})

        return read

    def observe(
        self, prepared: PreparedRequest[T], base_url: str, call: Coroutine[Any, Any, T]
    ) -> Coroutine[Any, Any, T]:
        return self._observe(prepared, _server(base_url), f"{base_url}{prepared.path}", call)

    async def _observe(
        self,
        prepared: PreparedRequest[T],
        server: Mapping[str, str | int],
        url: str,
        call: Coroutine[Any, Any, T],
    ) -> T:
        operation = {_OPERATION: prepared.operation.name}
        attributes: dict[str, str | int] = {
            http_attributes.HTTP_REQUEST_METHOD: prepared.operation.method,
            url_attributes.URL_FULL: url,
            **server,
            **operation,
        }
        if prepared.key is not None:
            attributes[_KEY] = prepared.key
        if prepared.items is not None:
            attributes[_ITEMS] = prepared.items
        started = perf_counter()
        labels: dict[str, str] = {**operation, _OUTCOME: "success"}
        with self._tracer.start_as_current_span(
            prepared.operation.name,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            prepared.trace = span
            for batched in prepared.calls:
                if isinstance(batched.trace, Span):
                    batched.trace.add_link(span.get_span_context())
            headers: dict[str, str] = {}
            inject(headers)
            if headers:
                prepared.headers = {**(prepared.headers or {}), **headers}
            try:
                return await call
            except BaseException as exc:
                labels |= _failure(exc, prepared)
                span.set_status(Status(StatusCode.ERROR, _description(exc)))
                if labels[_OUTCOME] == "unknown":
                    self._unknown.add(1, operation)
                raise
            finally:
                _set_result(span, prepared, labels)
                self._duration.record(perf_counter() - started, labels)
                self._attempts.record(prepared.attempts, operation)

    def on_attempt(self, attempt: Attempt, *, is_instrumented: bool) -> None:
        attributes: dict[str, str | int | float] = {
            _OPERATION: attempt.operation,
            "prefactor.attempt": attempt.number,
            "prefactor.attempt.seconds": attempt.seconds,
        }
        if attempt.status is not None:
            attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = attempt.status
        if attempt.request_id is not None:
            attributes["prefactor.request_id"] = attempt.request_id
        if attempt.error is not None:
            attributes["prefactor.error"] = attempt.error
        trace.get_current_span().add_event("attempt", attributes)
        if not is_instrumented:
            self._record_request(attempt)

    def _record_request(self, attempt: Attempt) -> None:
        labels: dict[str, str | int] = {http_attributes.HTTP_REQUEST_METHOD: attempt.method}
        if attempt.status is not None:
            labels[http_attributes.HTTP_RESPONSE_STATUS_CODE] = attempt.status
        if attempt.error is not None:
            reason = attempt.error.partition(":")[0] if attempt.status is None else attempt.status
            labels[error_attributes.ERROR_TYPE] = str(reason)
        self._request_duration.record(attempt.seconds, labels)

    def on_retry(self, retry: Retry) -> None:
        self._retries.add(1, {_OPERATION: retry.operation, "prefactor.retry.reason": retry.reason})

    def on_throttling(self, throttling: Throttling) -> None:
        name = "throttling started" if throttling.started else "throttling ended"
        trace.get_current_span().add_event(name, {_OPERATION: throttling.operation})

    def on_wait(self, operation: str, seconds: float) -> None:
        self._throttled.add(seconds, {_OPERATION: operation})

    def on_items(self, operation: str, states: Mapping[str, int]) -> None:
        for state, count in states.items():
            self._items.add(count, {_OPERATION: operation, "prefactor.bulk.state": state})

    def on_items_in_flight(self, operation: str, change: int) -> None:
        self._in_flight.add(change, {_OPERATION: operation})


def _server(base_url: str) -> dict[str, str | int]:
    parts = urlsplit(base_url)
    return {
        server_attributes.SERVER_ADDRESS: parts.hostname or "",
        server_attributes.SERVER_PORT: parts.port or _PORTS[parts.scheme],
    }


def _failure(exc: BaseException, prepared: PreparedRequest[Any]) -> dict[str, str]:
    error = exc.last_error if isinstance(exc, PrefactorRetryExhaustedError) else exc
    status = error.status_code if isinstance(error, PrefactorApiError) else None
    unknown = prepared.outcome_unknown or getattr(exc, "outcome_unknown", False)
    return {
        _OUTCOME: "unknown" if unknown else "failure",
        error_attributes.ERROR_TYPE: type(error).__name__ if status is None else str(status),
    }


def _description(exc: BaseException) -> str:
    # The text of other exceptions is not ours, and may hold what must not be shown.
    return str(exc) if isinstance(exc, PrefactorHttpError) else type(exc).__name__


def _set_result(span: Span, prepared: PreparedRequest[Any], labels: Mapping[str, str]) -> None:
    span.set_attribute(_OUTCOME, labels[_OUTCOME])
    if prepared.attempts > 1:
        span.set_attribute(http_attributes.HTTP_REQUEST_RESEND_COUNT, prepared.attempts - 1)
    if prepared.status is not None:
        span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, prepared.status)
    if error_attributes.ERROR_TYPE in labels:
        span.set_attribute(error_attributes.ERROR_TYPE, labels[error_attributes.ERROR_TYPE])


__all__ = ["PrefactorHttpInstrumentor"]
