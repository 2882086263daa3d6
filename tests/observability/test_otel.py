"""OpenTelemetry: one span per call with an event per attempt, and metrics."""

import asyncio
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from raw_server import reply
from virtual_time import LoopClock

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.exceptions import (
    PrefactorConflictError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)
from prefactor_http.otel import PrefactorHttpInstrumentor
from prefactor_http.testing import Fault, FaultKind, LocalPrefactor

VERSIONS = ({"external_identifier": "v1"}, {"external_identifier": "s1", "span_type_schemas": []})
TOKEN = "token-that-must-not-be-shown"


class Telemetry:
    """Spans and metrics in memory."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])

    @property
    def providers(self):
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}

    def spans(self, name=None):
        return [s for s in self.exporter.get_finished_spans() if name is None or s.name == name]

    def metrics(self):
        """Each metric's unit and data points."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: (metric.unit, list(metric.data.data_points))
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry():
    telemetry = Telemetry()
    instrumentor = PrefactorHttpInstrumentor()
    instrumentor.instrument(**telemetry.providers)
    yield telemetry
    instrumentor.uninstrument()
    telemetry.tracer_provider.shutdown()
    telemetry.meter_provider.shutdown()


@pytest.fixture
async def api():
    async with LocalPrefactor() as api:
        yield api


@pytest.fixture
async def client(api):
    async with PrefactorHttpClient(config_for(api.url, api.token)) as client:
        yield client


def config_for(url, token=TOKEN, **options):
    return HttpClientConfig(url, token, **{"initial_retry_delay": 0.001, **options})


def register(client, api, **fields):
    return client.agent_instances.register(
        api.agent_id, *VERSIONS, environment_id=api.environment_id, **fields
    )


def values_of(points, *labels):
    """Value or count of each data point, by the given attributes."""
    return {
        tuple(point.attributes.get(label) for label in labels): getattr(
            point, "value", getattr(point, "count", None)
        )
        for point in points
    }


async def until_requested(server):
    arrived = asyncio.Event()
    server.on_request = arrived.set
    await arrived.wait()


async def test_a_call_with_two_retries_is_one_span_with_three_attempts(telemetry, api, client):
    api.fail_next(Fault(FaultKind.BAD_GATEWAY), Fault(FaultKind.APPLIED_THEN_RESET))
    await register(client, api, idempotency_key="key-1")
    (span,) = telemetry.spans()
    assert span.name == "agent_instances.register"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    host, port = api.url.removeprefix("http://").split(":")
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "url.full": f"{api.url}/api/v1/agent_instance/register",
        "server.address": host,
        "server.port": int(port),
        "http.response.status_code": 200,
        "http.request.resend_count": 2,
        "prefactor.operation": "agent_instances.register",
        "prefactor.idempotency_key": "key-1",
        "prefactor.outcome": "success",
    }
    attempts = [event for event in span.events if event.name == "attempt"]
    assert [event.attributes["prefactor.attempt"] for event in attempts] == [1, 2, 3]
    statuses = [event.attributes.get("http.response.status_code") for event in attempts]
    assert statuses == [502, None, 200]
    assert "prefactor.error" in attempts[1].attributes


async def test_a_call_that_succeeds_at_once_has_no_resend_count(telemetry, api, client):
    await register(client, api)
    (span,) = telemetry.spans()
    assert "http.request.resend_count" not in span.attributes
    assert "error.type" not in span.attributes


async def test_the_request_carries_the_context_of_the_call(telemetry, raw_server):
    raw_server.script(reply(200, {"status": "success"}), b"", reply(200, {"status": "success"}))
    async with PrefactorHttpClient(config_for(raw_server.url)) as client:
        await client.validate_token()
        await client.validate_token()
    first, second = telemetry.spans()
    parents = [request.headers["traceparent"].split("-")[1:3] for request in raw_server.requests]
    assert parents == [
        [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
        for span in (first, second, second)
    ]


async def test_a_call_is_a_child_of_the_span_around_it(telemetry, api, client):
    tracer = telemetry.tracer_provider.get_tracer("worker")
    with tracer.start_as_current_span("work"):
        await register(client, api)
    call, work = telemetry.spans()
    assert call.parent.span_id == work.context.span_id


async def test_a_refused_call_has_its_status_as_the_type_of_the_error(telemetry, api, client):
    instance = await register(client, api)
    await client.agent_instances.start(instance.id)
    with pytest.raises(PrefactorConflictError):
        await client.agent_instances.start(instance.id)
    span = telemetry.spans("agent_instances.start")[-1]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "409"
    assert span.attributes["prefactor.outcome"] == "failure"


async def test_a_call_that_may_have_taken_effect_has_the_outcome_unknown(telemetry, raw_server):
    raw_server.script(b"", b"")
    async with PrefactorHttpClient(config_for(raw_server.url, max_retries=1)) as client:
        with pytest.raises(PrefactorRetryExhaustedError):
            await client.agents.retire("agent-1")
    (span,) = telemetry.spans()
    assert span.attributes["prefactor.outcome"] == "unknown"
    assert span.attributes["error.type"] == "PrefactorConnectionError"
    unit, points = telemetry.metrics()["prefactor.client.unknown_outcomes"]
    assert unit == "{call}"
    assert values_of(points, "prefactor.operation") == {("agents.retire",): 1}


async def test_a_cancelled_call_ends_its_span(telemetry, raw_server):
    raw_server.answer = lambda _: asyncio.sleep(60, b"")
    async with PrefactorHttpClient(config_for(raw_server.url)) as client:
        task = asyncio.create_task(client.agents.retire("agent-1"))
        await until_requested(raw_server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (span,) = telemetry.spans()
    assert span.attributes["error.type"] == "CancelledError"
    assert span.attributes["prefactor.outcome"] == "unknown"
    assert span.status.description == "CancelledError"


async def test_metrics_have_the_names_and_units_of_the_conventions(telemetry, api, client):
    api.fail_next(Fault(FaultKind.BAD_GATEWAY))
    await register(client, api)
    metrics = telemetry.metrics()
    assert {name: unit for name, (unit, _) in metrics.items()} == {
        "prefactor.client.call.duration": "s",
        "prefactor.client.attempts": "{attempt}",
        "prefactor.client.retries": "{retry}",
        "http.client.request.duration": "s",
    }
    _, retries = metrics["prefactor.client.retries"]
    labels = ("prefactor.operation", "prefactor.retry.reason")
    assert values_of(retries, *labels) == {("agent_instances.register", "502"): 1}
    _, durations = metrics["http.client.request.duration"]
    labels = ("http.request.method", "http.response.status_code", "error.type")
    assert values_of(durations, *labels) == {("POST", 502, "502"): 1, ("POST", 200, None): 1}
    _, attempts = metrics["prefactor.client.attempts"]
    assert attempts[0].sum == 2
    _, calls = metrics["prefactor.client.call.duration"]
    labels = ("prefactor.operation", "prefactor.outcome", "error.type")
    assert values_of(calls, *labels) == {("agent_instances.register", "success", None): 1}


async def test_a_batch_has_a_span_for_each_request_and_counts_its_items(telemetry, api, client):
    rows = [{"external_identifier": f"row-{number}"} for number in range(10_000)]
    rows[77]["purpose"] = "nonsense"
    options = {"agent_id": api.agent_id, "environment_id": api.environment_id}
    stream = client.agent_instances.register_many(
        rows, agent_version=VERSIONS[0], agent_schema_version=VERSIONS[1], **options
    )
    states = [outcome.state.value async for outcome in stream]
    spans = telemetry.spans("agent_instances.register_many")
    assert len(spans) == len(telemetry.spans()) < 150
    # The items behind the refused one are sent again.
    assert 10_000 <= sum(span.attributes["prefactor.bulk.items"] for span in spans) < 10_100
    metrics = telemetry.metrics()
    _, items = metrics["prefactor.bulk.items"]
    assert values_of(items, "prefactor.operation", "prefactor.bulk.state") == {
        ("agent_instances.register_many", "ok"): states.count("ok"),
        ("agent_instances.register_many", "failed"): 1,
    }
    _, in_flight = metrics["prefactor.bulk.items.in_flight"]
    assert set(values_of(in_flight, "prefactor.operation").values()) == {0}


async def test_throttling_is_an_event_of_the_call_that_starts_or_ends_it(telemetry, raw_server):
    away = reply(503, {"status": "error", "code": "maintenance"}, Retry_After="0.1")
    raw_server.script(away, reply(200, {"status": "success"}))
    async with PrefactorHttpClient(config_for(raw_server.url)) as client:
        await client.validate_token()
    (span,) = telemetry.spans()
    assert [event.name for event in span.events] == [
        "throttling started",
        "attempt",
        "throttling ended",
        "attempt",
    ]


@pytest.mark.virtual_time
async def test_calls_held_back_by_another_call_count_their_wait(telemetry, raw_server):
    limited = reply(429, {"status": "error", "code": "rate_limited"}, Retry_After="0.2")
    raw_server.script(limited)
    raw_server.answer = lambda _: reply(200, {"status": "success"})
    async with PrefactorHttpClient(config_for(raw_server.url), clock=LoopClock()) as client:
        first = asyncio.create_task(client.validate_token())
        await until_requested(raw_server)
        await asyncio.sleep(0.05)  # the rejection arrives, and its call waits
        await asyncio.gather(first, client.validate_token())
    unit, points = telemetry.metrics()["prefactor.client.throttled"]
    assert unit == "s"
    assert 0.1 < sum(point.value for point in points) < 0.5


async def test_with_the_aiohttp_instrumentation_attempts_are_nested_and_counted_once(
    telemetry, api
):
    aiohttp_instrumentor = AioHttpClientInstrumentor()
    aiohttp_instrumentor.instrument(**telemetry.providers)
    try:
        async with PrefactorHttpClient(config_for(api.url, api.token)) as client:
            api.fail_next(Fault(FaultKind.BAD_GATEWAY))
            await register(client, api)
    finally:
        aiohttp_instrumentor.uninstrument()
    (call,) = telemetry.spans("agent_instances.register")
    attempts = telemetry.spans("POST")
    assert [span.parent.span_id for span in attempts] == [call.context.span_id] * 2
    assert "http.client.request.duration" not in telemetry.metrics()  # theirs has its old name


async def test_the_token_is_in_no_span_and_no_metric(telemetry, raw_server):
    raw_server.script(
        reply(401, {"status": "error", "code": f"no-{TOKEN}", "message": f"bad {TOKEN}"}),
        f"HTTP/1.1 {TOKEN}\r\n\r\n".encode(),
        f"HTTP/1.1 {TOKEN}\r\n\r\n".encode(),
    )
    async with PrefactorHttpClient(config_for(raw_server.url, max_retries=1)) as client:
        for _ in range(2):
            with pytest.raises(Exception, match=r".") as caught:
                await client.agents.retire("agent-1")
            assert TOKEN not in str(caught.value)
    shown = [span.to_json() for span in telemetry.spans()] + [str(telemetry.metrics())]
    assert not [text for text in shown if TOKEN in text]


async def test_without_instrumentation_nothing_is_recorded(telemetry, api, client):
    PrefactorHttpInstrumentor().uninstrument()
    try:
        await register(client, api)
        assert telemetry.spans() == []
        assert telemetry.metrics() == {}
    finally:
        PrefactorHttpInstrumentor().instrument(**telemetry.providers)


async def test_without_an_sdk_a_call_is_made_as_without_instrumentation(raw_server):
    PrefactorHttpInstrumentor().instrument()
    try:
        async with PrefactorHttpClient(config_for(raw_server.url)) as client:
            await client.validate_token()
    finally:
        PrefactorHttpInstrumentor().uninstrument()
    assert "traceparent" not in raw_server.request.headers


async def test_a_deadline_is_a_failure_of_the_call(telemetry, raw_server):
    raw_server.answer = lambda _: asyncio.sleep(60, b"")
    async with PrefactorHttpClient(config_for(raw_server.url, deadline=0.05)) as client:
        with pytest.raises(PrefactorTimeoutError):
            await client.agents.retire("agent-1")
    (span,) = telemetry.spans()
    assert span.attributes["error.type"] == "PrefactorTimeoutError"
    assert span.attributes["prefactor.outcome"] == "unknown"


def test_the_instrumentor_is_found_by_its_entry_point():
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="prefactor_http")
    assert entry.load() is PrefactorHttpInstrumentor
    assert PrefactorHttpInstrumentor().instrumentation_dependencies() == ()


def test_importing_the_client_does_not_import_opentelemetry():
    code = "import sys, prefactor_http; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
