"""Errors, missing and wrong outputs of single calls in bulk requests that succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from batching_support import (
    FakeApi,
    Output,
    batching,
    config_of,
    error,
    failing,
    failures,
    finish,
    instance,
    names,
    output_of,
    register,
    registers,
    span,
    start,
    success,
    until,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from raw_server import Request, reply
from refusals import facts_of, first_time, is_bulk

from prefactor_http import (
    PrefactorClientError,
    PrefactorConflictError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
)
from prefactor_http.otel import PrefactorHttpInstrumentor

A, B, C, D = names("call", 4)
SHORT = {"initial_retry_delay": 0.1, "max_retry_delay": 0.1}
LONG = {"initial_retry_delay": 60.0, "max_retry_delay": 60.0}
UNAVAILABLE = error("service_unavailable")
IN_PROGRESS = error("idempotency_in_progress")
TOO_EARLY = "not retried: the deadline ends before the next attempt"


def always(key: str, output: Output) -> Callable[[dict[str, Any]], Output]:
    return lambda item: output if item["idempotency_key"] == key else output_of(item)


@pytest.mark.parametrize(
    "code",
    ["service_unavailable", "internal_server_error", "rate_limited", "idempotency_in_progress"],
)
async def test_a_call_with_a_transient_error_is_retried(api: FakeApi, code: str) -> None:
    """The calls behind it do not wait for that."""
    api.output_of = first_time(A, error(code))
    async with batching(api.server, **SHORT) as view:
        results = await asyncio.gather(*registers(view, A, B, C))
    assert [result.external_identifier for result in results] == [A, B, C]
    assert api.sent[:2] == [[A, B, C], [B, C]]
    assert api.sent[2:] == [[A]]


async def test_a_call_with_a_transient_error_keeps_its_place_in_its_group(api: FakeApi) -> None:
    api.output_of = first_time(A, UNAVAILABLE)
    async with batching(api.server, **SHORT) as view:
        await asyncio.gather(start(view, A), register(view, C), finish(view, B))
    assert api.sent == [[A, C, B], [C], [A, B]]


@pytest.mark.parametrize(
    ("output", "status", "config", "attempts"),
    [
        pytest.param(UNAVAILABLE, 503, {"max_retries": 2}, 3, id="exhausted"),
        pytest.param(UNAVAILABLE, 503, {"max_retries": 0}, 1, id="no retries"),
        pytest.param(UNAVAILABLE, 503, {"retry_budget": 0}, 1, id="no retry budget"),
        pytest.param(UNAVAILABLE, 503, {"retry_on_status_codes": {500}}, 1, id="not retried"),
        pytest.param(IN_PROGRESS, 409, {"max_retries": 1}, 2, id="in progress"),
        pytest.param(error("not_found"), 404, {}, 1, id="refused"),
        pytest.param(
            error("not_found"), 404, {"retry_on_status_codes": {404}}, 3, id="404 retried"
        ),
    ],
)
async def test_a_call_raises_what_its_direct_call_raises(
    api: FakeApi, output: Output, status: int, config: dict[str, Any], attempts: int
) -> None:
    api.output_of = always(A, output)
    api.answer = lambda request: None if is_bulk(request) else reply(status, output)
    settings = {"max_retries": 2, **config}
    async with batching(api.server, **settings) as view:
        tasks = registers(view, B, A)
        assert (await tasks[0]).external_identifier == B
        [batched] = await failures(tasks[1:])
    assert api.sent == [[B, A]] + [[A]] * (attempts - 1)
    async with PrefactorHttpClient(config_of(api.server, **settings)) as client:
        [direct] = await failures([register(client, A)])
    # The API rolls back an item that fails. A direct call may have been applied.
    but = {"outcome_unknown", "__notes__"} if status == 503 else set()
    assert facts_of(batched, but=but) == facts_of(direct, but=but)
    assert batched.outcome_unknown is (output is IN_PROGRESS)


async def test_a_transient_error_is_not_retried_if_the_deadline_ends_before(api: FakeApi) -> None:
    api.output_of = always(A, UNAVAILABLE)
    async with batching(api.server, deadline=20.0, **LONG) as view:
        tasks = registers(view, A, B)
        [refused] = await failures(tasks[:1])
        assert (refused.status_code, refused.attempts) == (503, 1)
        assert TOO_EARLY in refused.__notes__
        assert (await tasks[1]).external_identifier == B


async def test_retries_of_a_call_that_is_answered_in_the_end_cost_no_budget(api: FakeApi) -> None:
    async with batching(api.server, retry_budget=5) as view:
        for number in range(3):
            key, other = names(f"round-{number}", 2)
            api.output_of = first_time(key, UNAVAILABLE)
            await asyncio.gather(*registers(view, key, other))
        for number, output in enumerate([error("not_found"), error("validation_errors")]):
            key, other = names(f"refused-{number}", 2)
            outputs = iter([UNAVAILABLE, output])
            api.output_of = lambda item, key=key, outputs=outputs: (
                next(outputs) if item["idempotency_key"] == key else output_of(item)
            )
            tasks = registers(view, key, other)
            [refused] = await failures(tasks[:1])
            assert refused.code == output["code"]
            assert (await tasks[1]).external_identifier == other


async def test_a_retry_before_an_error_that_is_not_retried_costs_no_budget(api: FakeApi) -> None:
    settings = {"retry_budget": 5, "retry_on_status_codes": {503}}
    async with batching(api.server, **settings) as view:
        for number in range(3):
            key, other = names(f"round-{number}", 2)
            outputs = iter([UNAVAILABLE, error("internal_server_error")])
            api.output_of = lambda item, key=key, outputs=outputs: (
                next(outputs) if item["idempotency_key"] == key else output_of(item)
            )
            tasks = registers(view, key, other)
            [failed] = await failures(tasks[:1])
            assert (failed.status_code, failed.attempts) == (500, 2)
            await tasks[1]


async def test_a_call_that_is_cancelled_during_its_backoff_is_not_sent_again(api: FakeApi) -> None:
    """What its retry would have cost returns to the budget."""
    api.output_of = always(A, UNAVAILABLE)
    async with batching(api.server, retry_budget=5, **SHORT) as view:
        tasks = [start(view, A), register(view, B), start(view, C)]
        await tasks[1]
        tasks[0].cancel()
        assert (await tasks[2]).id == "i-1"  # behind it
        assert tasks[0].cancelled()
        api.server.script(failing())
        await asyncio.gather(*registers(view, *names("more", 2)))
    assert [key for request in api.sent for key in request].count(A) == 1


async def test_a_call_ends_if_the_client_closes_during_its_backoff(api: FakeApi) -> None:
    api.output_of = always(A, UNAVAILABLE)
    async with batching(api.server, **LONG) as view:
        tasks = [start(view, A), register(view, B), start(view, C)]
        await tasks[1]
        await view.close(0.01)
        first, behind = await failures([tasks[0], tasks[2]])
        assert isinstance(first, PrefactorClientError)
        assert isinstance(behind, PrefactorClientError)
        assert (first.idempotency_key, first.attempts, first.outcome_unknown) == (A, 1, False)
        assert (behind.idempotency_key, behind.outcome_unknown) == (C, False)


# Outputs that are wrong or missing


@pytest.mark.parametrize("times", [1, 2])
async def test_a_call_whose_output_is_about_another_resource_is_repeated_once(
    api: FakeApi, times: int
) -> None:
    """On a new connection, since the response may be that of another call."""
    api.output_of = first_time(A, success(instance("i-9", external_identifier="other")), times)
    async with batching(api.server) as view:
        tasks = registers(view, A, B)
        assert (await tasks[1]).external_identifier == B
        if times == 1:
            assert (await tasks[0]).external_identifier == A
        else:
            [wrong] = await failures(tasks[:1])
            assert isinstance(wrong, PrefactorResponseContractError)
            assert (wrong.idempotency_key, wrong.attempts) == (A, 2)
            assert wrong.outcome_unknown
    assert api.sent == [[A, B], [A]]
    first, second = api.server.requests
    assert first.connection != second.connection


async def test_a_call_whose_output_is_wrong_is_not_repeated_without_retries(api: FakeApi) -> None:
    api.output_of = always(A, success(instance("i-9", external_identifier="other")))
    async with batching(api.server, max_retries=0) as view:
        tasks = registers(view, A, B)
        [wrong] = await failures(tasks[:1])
        assert isinstance(wrong, PrefactorResponseContractError)
        assert (wrong.attempts, wrong.outcome_unknown) == (1, True)
        assert (await tasks[1]).external_identifier == B
    assert api.sent == [[A, B]]


@pytest.mark.parametrize("times", [2, 3])
async def test_a_call_without_an_output_is_repeated_twice(api: FakeApi, times: int) -> None:
    left = [times]

    def answer(request: Request) -> bytes | None:
        if not left[0]:
            return None
        left[0] -= 1
        items = [item for item in request.json["items"] if item["idempotency_key"] != A]
        outputs = {item["idempotency_key"]: output_of(item) for item in items}
        return reply(200, {"status": "success", "outputs": outputs})

    api.answer = answer
    async with batching(api.server, max_retries=5) as view:
        tasks = [start(view, A), register(view, B), finish(view, C)]
        assert (await tasks[1]).external_identifier == B
        if times == 2:
            assert (await tasks[0]).id == "i-1"
        else:
            [missing] = await failures(tasks[:1])
            assert isinstance(missing, PrefactorResponseContractError)
            assert "no output" in str(missing)
            assert (missing.attempts, missing.outcome_unknown) == (3, True)
        assert (await tasks[2]).status == "complete"
    assert [request for request in api.sent if A in request] == [[A, B, C], [A], [A]]


async def test_an_output_that_cannot_be_decoded_leaves_the_outcome_unknown(api: FakeApi) -> None:
    api.output_of = always(A, success({"type": "agent_instance"}))
    async with batching(api.server) as view:
        tasks = [start(view, A), register(view, B)]
        [wrong] = await failures(tasks[:1])
        assert isinstance(wrong, PrefactorResponseContractError)
        assert (wrong.idempotency_key, wrong.outcome_unknown) == (A, True)
        assert (await tasks[1]).external_identifier == B


# Refusals


async def test_a_refused_call_does_not_block_later_ones(api: FakeApi) -> None:
    """Not even those on its instance: every caller gets its own result."""
    api.output_of = always(A, error("invalid_action"))
    async with batching(api.server) as view:
        tasks = [start(view, A), finish(view, B), register(view, C)]
        [refused] = await failures(tasks[:1])
        assert isinstance(refused, PrefactorConflictError)
        assert not refused.outcome_unknown
        assert (await tasks[1]).status == "complete"
        assert (await tasks[2]).external_identifier == C
    assert api.sent == [[A, B, C], [B, C]]


async def test_a_cancelled_call_behind_a_refused_one_is_not_sent_again(api: FakeApi) -> None:
    api.output_of = always(A, error("not_found"))
    api.hold()
    async with batching(api.server) as view:
        tasks = registers(view, A, B, C, D)
        await until(lambda: api.sent)
        tasks[1].cancel()
        await failures(tasks[1:2])
        api.release()
        [refused] = await failures(tasks[:1])
        assert refused.status_code == 404
        await asyncio.gather(*tasks[2:])
    assert api.sent == [[A, B, C, D], [C, D]]


async def test_the_result_of_a_call_that_was_cancelled_in_flight_is_dropped(api: FakeApi) -> None:
    api.hold()
    async with batching(api.server) as view:
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await tasks[0]
        assert cancelled.value.outcome_unknown
        api.release()
        assert (await tasks[1]).external_identifier == B


async def test_the_error_of_a_call_that_was_cancelled_in_flight_is_dropped(api: FakeApi) -> None:
    api.output_of = always(A, error("not_found"))
    api.hold()
    async with batching(api.server) as view:
        tasks = [start(view, A), register(view, B), finish(view, C)]
        await until(lambda: api.sent)
        tasks[0].cancel()
        await failures(tasks[:1])
        api.release()
        assert (await tasks[1]).external_identifier == B
        assert (await tasks[2]).status == "complete"
    assert api.sent == [[A, B, C], [B, C]]


@pytest.mark.parametrize(
    ("found", "applied"),
    [
        pytest.param(success(instance("i-1", "active")), True, id="applied"),
        pytest.param(success(instance("i-1", "cancelled")), False, id="not applied"),
        pytest.param(success(instance("i-1", "pending")), None, id="unknown"),
        pytest.param(None, None, id="read fails"),
    ],
)
async def test_a_refusal_after_a_lost_response_is_verified(
    api: FakeApi,
    found: Output | None,
    applied: bool | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The calls behind it on its instance wait until then."""

    def answer(request: Request) -> bytes | None:
        if request.method == "GET":
            return failing(403) if found is None else reply(200, found)
        return None

    api.server.script(b"")
    api.answer = answer
    api.output_of = always(A, error("invalid_action"))
    async with batching(api.server) as view:
        tasks = [start(view, A), register(view, B), finish(view, C)]
        if applied:
            assert (await tasks[0]).status == "active"
        else:
            [refused] = await failures(tasks[:1])
            assert isinstance(refused, PrefactorConflictError)
            assert (refused.idempotency_key, refused.attempts) == (A, 2)
            assert refused.outcome_unknown is (applied is None)
        assert (await tasks[1]).external_identifier == B
        assert (await tasks[2]).status == "complete"
    requests = [request.method for request in api.server.requests]
    assert requests.count("GET") == 1
    assert api.sent[:2] == [[A, B, C], [A, B, C]]
    messages = [message for message in caplog.messages if "could not verify" in message]
    assert len(messages) == (found is None)
    assert all(f"agent_instances/start (key {A})" in message for message in messages)


async def test_calls_end_if_the_client_closes_while_an_outcome_is_verified(api: FakeApi) -> None:
    reading = asyncio.Event()
    never = asyncio.Event()

    async def answer(request: Request) -> bytes:
        if request.method == "GET":
            reading.set()
            await never.wait()
        return api.respond(request)

    api.server.script(b"")
    api.server.answer = answer
    api.output_of = always(A, error("invalid_action"))
    async with batching(api.server) as view:
        tasks = [start(view, A), register(view, B), finish(view, C)]
        await reading.wait()
        await view.close(0.01)
        first, behind = await failures([tasks[0], tasks[2]])
        never.set()
        for each, key in ((first, A), (behind, C)):
            assert isinstance(each, PrefactorHttpError)
            # The lost request contained both.
            assert (each.idempotency_key, each.outcome_unknown) == (key, True)


async def test_the_result_of_a_verified_span_is_that_of_its_direct_call(api: FakeApi) -> None:
    """The read of a span has a result of another type than its creation."""

    def answer(request: Request) -> bytes | None:
        if request.method == "GET":
            return reply(200, success(span("s-1", "i-1")))
        return None

    api.server.script(b"")
    api.answer = answer
    api.output_of = always(A, error("validation_errors", id=["has already been taken"]))
    async with batching(api.server) as view:
        create = view.agent_spans.create("i-1", "llm", "active", id="s-1", idempotency_key=A)
        created, _ = await asyncio.gather(create, register(view, B))
    assert (created.id, created.agent_instance_id) == ("s-1", "i-1")


async def test_retries_of_calls_and_requests_count_together(api: FakeApi) -> None:
    """A call was in a request that failed, and then had transient errors of its own."""
    api.server.script(failing())
    api.output_of = always(A, UNAVAILABLE)
    async with batching(api.server, max_retries=2) as view:
        tasks = registers(view, A, B)
        [exhausted] = await failures(tasks[:1])
        assert isinstance(exhausted, PrefactorRetryExhaustedError)
        assert exhausted.attempts == 3
        assert (await tasks[1]).external_identifier == B


async def test_the_results_of_calls_are_counted_by_their_state(api: FakeApi) -> None:
    outputs = {A: error("not_found"), B: success({})}
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    instrumentor = PrefactorHttpInstrumentor()
    instrumentor.instrument(meter_provider=meters)
    try:
        api.output_of = lambda item: outputs.get(item["idempotency_key"]) or output_of(item)
        async with batching(api.server) as view:
            tasks = registers(view, A, B, C, D)
            await failures(tasks[:2])
            await asyncio.gather(*tasks[2:])
        [scope] = reader.get_metrics_data().resource_metrics[0].scope_metrics
        [points] = [m.data.data_points for m in scope.metrics if m.name == "prefactor.bulk.items"]
        assert {point.attributes["prefactor.bulk.state"]: point.value for point in points} == {
            "ok": 2,
            "failed": 1,
            "unknown": 1,
        }
    finally:
        instrumentor.uninstrument()
        meters.shutdown()
