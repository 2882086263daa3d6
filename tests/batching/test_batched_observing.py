"""What hooks, captured responses and OpenTelemetry show of batched calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from batching_support import (
    FakeApi,
    batching,
    error,
    failing,
    failures,
    items_in,
    names,
    output_of,
    register,
    registers,
    turns,
    until,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from raw_server import Request, reply

from prefactor_http import PrefactorHttpError
from prefactor_http.events import Attempt, Retry
from prefactor_http.otel import PrefactorHttpInstrumentor

A, B, C, D = names("call", 4)
REGISTER, BULK = "agent_instances.register", "bulk.execute"


class Telemetry:
    """Spans and metrics in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def spans_by_key(self) -> dict[Any, ReadableSpan]:
        spans = self.spans(REGISTER)
        return {(span.attributes or {})["prefactor.idempotency_key"]: span for span in spans}

    def values(self, metric: str, *labels: str) -> Counter[Any]:
        """The sum of the values or counts, by the given attributes."""
        data: Any = self.reader.get_metrics_data()
        values: Counter[Any] = Counter()
        for scope in data.resource_metrics[0].scope_metrics:
            for each in scope.metrics:
                for point in each.data.data_points if each.name == metric else ():
                    key = tuple(point.attributes.get(label) for label in labels)
                    values[key] += getattr(point, "value", getattr(point, "count", 0))
        return values

    def instrument(self) -> None:
        PrefactorHttpInstrumentor().instrument(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )


@pytest.fixture
def uninstrumented() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    PrefactorHttpInstrumentor().uninstrument()
    telemetry.tracer_provider.shutdown()
    telemetry.meter_provider.shutdown()


@pytest.fixture
def telemetry(uninstrumented: Telemetry) -> Telemetry:
    uninstrumented.instrument()
    return uninstrumented


def refused(api: FakeApi, *keys: str) -> None:
    """Refuse the calls with these keys."""

    def output(item: dict[str, Any]) -> dict[str, Any]:
        is_refused = item["idempotency_key"] in keys
        return error("validation_errors", id=["is invalid"]) if is_refused else output_of(item)

    api.output_of = output


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def ids(spans: list[ReadableSpan]) -> list[int]:
    return [span.context.span_id for span in spans if span.context is not None]


async def test_each_request_is_one_attempt(api: FakeApi) -> None:
    events: list[Attempt] = []
    api.answer = lambda request: reply(
        200,
        {
            "status": "success",
            "outputs": {item["idempotency_key"]: output_of(item) for item in items_in(request)},
        },
        X_Request_Id="r-7",
    )
    async with batching(api.server, on_attempt=events.append) as view:
        await asyncio.gather(*registers(view, A, B, C))
    [event] = events
    assert (event.operation, event.method, event.path) == (BULK, "POST", "/api/v1/bulk")
    assert (event.items, event.number, event.status) == (3, 1, 200)
    assert (event.error, event.idempotency_key, event.request_id) == (None, None, "r-7")
    assert event.seconds > 0


async def test_a_call_that_is_made_directly_is_an_attempt_of_its_own(api: FakeApi) -> None:
    events: list[Attempt] = []
    async with batching(api.server, on_attempt=events.append) as view:
        await register(view, A)
    [event] = events
    assert (event.operation, event.items, event.idempotency_key) == (REGISTER, None, A)


async def test_a_retry_is_reported_once_for_all_its_calls(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "prefactor_http")
    events: list[Attempt | Retry] = []
    api.server.script(failing(502), failing(503))
    async with batching(api.server, on_attempt=events.append, on_retry=events.append) as view:
        await asyncio.gather(*registers(view, A, B))
    assert [type(event) for event in events] == [Attempt, Retry, Attempt, Retry, Attempt]
    retries = [event for event in events if isinstance(event, Retry)]
    assert [(event.number, event.reason) for event in retries] == [(1, "502"), (2, "503")]
    assert {(e.operation, e.method, e.path, e.max_retries, e.items) for e in retries} == {
        (BULK, "POST", "/api/v1/bulk", 3, 2)
    }
    assert {event.idempotency_key for event in retries} == {None}
    assert retries[0].waited_so_far == 0
    assert retries[1].waited_so_far == retries[0].wait_for > 0
    assert [(e.status, e.items) for e in events if isinstance(e, Attempt)] == [
        (502, 2),
        (503, 2),
        (200, 2),
    ]
    assert f"{BULK}: 502, retry 1 of 3 in 0.00 s" in caplog.messages


async def test_calls_with_hooks_of_their_own_do_not_share_requests(api: FakeApi) -> None:
    ours: list[Attempt] = []
    theirs: list[Attempt] = []
    async with batching(api.server, on_attempt=theirs.append) as view:
        own = view.with_options(on_attempt=ours.append)
        await asyncio.gather(*registers(own, A, B), *registers(view, C, D))
    assert sorted(api.sent) == [[A, B], [C, D]]
    assert [[event.items for event in events] for events in (ours, theirs)] == [[2], [2]]


async def test_each_call_in_a_capturing_block_has_the_response_to_its_request(
    api: FakeApi,
) -> None:
    def answer(request: Request) -> bytes:
        outputs = {item["idempotency_key"]: output_of(item) for item in items_in(request)}
        body = {"status": "success", "outputs": outputs}
        return reply(200, body, X_Request_Id=f"r-{len(outputs)}")

    api.answer = answer
    async with batching(api.server) as view:
        api.server.script(failing(X_Request_Id="r-0"))
        outside = register(view, C)
        with view.capture_responses() as responses:
            await asyncio.gather(*registers(view, A, B))
        await outside
    assert [set(request) for request in api.sent] == [{A, B, C}] * 2
    assert [
        (response.operation, response.path, response.status, response.request_id, response.attempts)
        for response in responses
    ] == [(REGISTER, "/api/v1/agent_instance/register", 200, "r-3", 2)] * 2


async def test_calls_without_a_response_are_captured_without_a_status(api: FakeApi) -> None:
    async with batching(api.server, max_retries=0) as view:
        api.server.script(b"")
        with view.capture_responses() as responses:
            await failures(registers(view, A, B))
    assert [response.status for response in responses] == [None, None]


async def test_a_refused_call_is_captured_with_the_response_to_its_request(api: FakeApi) -> None:
    refused(api, B)
    async with batching(api.server) as view:
        with view.capture_responses() as responses:
            results = await asyncio.gather(*registers(view, A, B), return_exceptions=True)
    assert isinstance(results[1], PrefactorHttpError)
    assert [response.status for response in responses] == [200, 200]


async def test_the_span_of_a_call_links_to_that_of_its_request(
    telemetry: Telemetry, api: FakeApi
) -> None:
    async with batching(api.server) as view:
        await asyncio.gather(*registers(view, A, B))
        await asyncio.gather(*registers(view, C, D))
    requests = telemetry.spans(BULK)
    assert [(span.attributes or {})["prefactor.bulk.items"] for span in requests] == [2, 2]
    assert [span.parent for span in requests] == [None, None]
    calls = telemetry.spans_by_key()
    assert links(calls[A]) == links(calls[B]) == ids(requests[:1])
    assert links(calls[C]) == links(calls[D]) == ids(requests[1:])
    for call in calls.values():
        assert (call.attributes or {})["http.response.status_code"] == 200
        assert (call.attributes or {})["prefactor.outcome"] == "success"
        assert call.events == ()
    assert [event.name for span in requests for event in span.events] == ["attempt"] * 2
    # Requests carry the context of their own spans.
    assert [request.headers["traceparent"].split("-")[2] for request in api.server.requests] == [
        f"{number:016x}" for number in ids(requests)
    ]


async def test_a_request_belongs_to_no_span_of_a_caller(telemetry: Telemetry, api: FakeApi) -> None:
    tracer = telemetry.tracer_provider.get_tracer("application")
    async with batching(api.server) as view:
        with tracer.start_as_current_span("work") as work:
            await asyncio.gather(*registers(view, A, B))
    [request] = telemetry.spans(BULK)
    assert request.parent is None
    for span in telemetry.spans(REGISTER):
        assert span.parent is not None
        assert span.parent.span_id == work.get_span_context().span_id


async def test_a_call_that_is_sent_again_links_to_each_request(
    telemetry: Telemetry, api: FakeApi
) -> None:
    api.server.script(failing())
    refused(api, B)
    async with batching(api.server) as view:
        await asyncio.gather(*registers(view, A, B), return_exceptions=True)
    requests = telemetry.spans(BULK)
    assert len(requests) == 2
    assert requests[0].status.status_code is StatusCode.ERROR
    assert (requests[0].attributes or {})["error.type"] == "503"
    calls = telemetry.spans_by_key()
    for call in calls.values():
        assert links(call) == ids(requests)
        assert (call.attributes or {})["http.request.resend_count"] == 1
    assert calls[A].status.status_code is StatusCode.UNSET
    assert calls[B].status.status_code is StatusCode.ERROR
    assert (calls[B].attributes or {})["error.type"] == "422"
    assert (calls[B].attributes or {})["prefactor.outcome"] == "unknown"  # as of a direct call


async def test_a_request_that_fails_for_good_is_a_failure_of_each_call(
    telemetry: Telemetry, api: FakeApi
) -> None:
    api.server.script(failing(), b"")
    async with batching(api.server, max_retries=1) as view:
        await failures(registers(view, A, B))
    assert len(telemetry.spans(BULK)) == 2
    for call in telemetry.spans(REGISTER):
        assert call.status.status_code is StatusCode.ERROR
        assert (call.attributes or {})["prefactor.outcome"] == "unknown"
    unknown = telemetry.values("prefactor.client.unknown_outcomes", "prefactor.operation")
    assert unknown[(REGISTER,)] == 2
    retries = telemetry.values("prefactor.client.retries", "prefactor.operation")
    assert retries == {(BULK,): 1}


async def test_the_calls_in_flight_and_their_states_are_counted(
    telemetry: Telemetry, api: FakeApi
) -> None:
    refused(api, C)
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B, C)
        await until(lambda: api.sent)
        in_flight = "prefactor.bulk.items.in_flight"
        assert telemetry.values(in_flight, "prefactor.operation") == {(BULK,): 3}
        api.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert telemetry.values(in_flight, "prefactor.operation") == {(BULK,): 0}
    states = telemetry.values("prefactor.bulk.items", "prefactor.operation", "prefactor.bulk.state")
    assert states == {(BULK, "ok"): 2, (BULK, "failed"): 1}
    calls = telemetry.values("prefactor.client.call.duration", "prefactor.operation")
    assert calls == {(REGISTER,): 3, (BULK,): 1}
    assert telemetry.values("http.client.request.duration", "http.request.method") == {("POST",): 1}


async def test_an_interrupted_request_leaves_no_calls_in_flight(
    telemetry: Telemetry, api: FakeApi
) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        await view.close(0)
        await failures(tasks)
        api.release()
    in_flight = telemetry.values("prefactor.bulk.items.in_flight", "prefactor.operation")
    assert in_flight == {(BULK,): 0}
    [request] = telemetry.spans(BULK)
    assert request.status.description == "CancelledError"


async def test_a_call_that_is_cancelled_ends_its_span_and_not_that_of_the_request(
    telemetry: Telemetry, api: FakeApi
) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert [(s.attributes or {})["prefactor.outcome"] for s in telemetry.spans(REGISTER)] == [
            "unknown"
        ]
        assert telemetry.spans(BULK) == []
        api.release()
        await tasks[1]
    [request] = telemetry.spans(BULK)
    assert (request.attributes or {})["prefactor.outcome"] == "success"
    assert request.status.status_code is StatusCode.UNSET


async def test_a_request_of_calls_that_were_made_before_the_instrumentation_has_a_span(
    uninstrumented: Telemetry, api: FakeApi
) -> None:
    async with batching(api.server, {"concurrency": 1}) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        tasks += registers(view, C, D)
        await turns()
        uninstrumented.instrument()
        api.release()
        await asyncio.gather(*tasks)
    assert len(uninstrumented.spans(BULK)) == 1
    assert uninstrumented.spans(REGISTER) == []
