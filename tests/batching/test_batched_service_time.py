"""Calls at an API that takes time for each item, and the estimate of that time."""

from __future__ import annotations

import asyncio

import pytest
from batching_support import SCHEMA, VERSION, FakeApi, config_of, names, registers
from raw_server import Request
from virtual_time import LoopClock

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http._bulk.latency import LatencyModel
from prefactor_http.testing import LocalPrefactor


def model(**bounds: int) -> LatencyModel:
    return LatencyModel(
        **{"request_timeout": 30, "max_requests": 8, "max_connections": 100} | bounds
    )


def learn(model: LatencyModel, *measured: tuple[int, float], times: int = 20) -> None:
    for number in range(times):
        for size, seconds in measured:
            model.record(size, seconds, now=float(number))


@pytest.mark.virtual_time
async def test_calls_become_direct_where_items_take_long() -> None:
    async with (
        LocalPrefactor(service_time=0.06) as api,
        PrefactorHttpClient(HttpClientConfig(api.url, api.token), clock=LoopClock()) as client,
        client.batched(max_items=8) as view,
        asyncio.timeout(60),
    ):

        async def register(name: str) -> None:
            instance = await view.agent_instances.register(
                api.agent_id,
                VERSION,
                SCHEMA,
                environment_id=api.environment_id,
                external_identifier=name,
            )
            assert instance.external_identifier == name

        async def work(number: int) -> None:
            for call in range(12):
                await register(f"work-{number}-{call}")

        await asyncio.gather(*(work(number) for number in range(32)))
        operations = [request.operation for request in api.requests]
        assert operations[0] == "bulk.execute"
        # After two sizes are measured, one call does not wait for another.
        assert set(operations[-64:]) == {"agent_instances.register"}
        # Also a call that is made while others are in flight need not wait for its turn.
        tasks = [asyncio.create_task(register(f"first-{number}")) for number in range(4)]
        await asyncio.sleep(0.005)
        tasks += [asyncio.create_task(register(f"second-{number}")) for number in range(4)]
        await asyncio.gather(*tasks)
        assert {request.operation for request in api.requests[-8:]} == {"agent_instances.register"}
        assert len(api.instances) == 32 * 12 + 8
        assert api.doubled == api.lost == []


@pytest.mark.virtual_time
async def test_among_direct_calls_a_bulk_request_is_tried_after_ten_seconds(api: FakeApi) -> None:
    async def slowly(request: Request) -> bytes:
        if request.target.endswith("/bulk"):
            await asyncio.sleep(0.05 * len(request.json["items"]))
        return api.respond(request)

    def bulk_sizes(requests: list[list[str]]) -> list[int]:
        return [len(keys) for keys in requests if keys[0] != "direct"]

    api.server.answer = slowly
    client = PrefactorHttpClient(config_of(api.server), clock=LoopClock())
    async with client, client.batched(max_items=8) as view, asyncio.timeout(20):

        async def make(prefix: str, count: int) -> None:
            await asyncio.gather(*registers(view, *names(prefix, count)))

        for number in range(4):
            await make(f"slow-{number}", 8)
        before = len(api.sent)
        for number in range(11):
            await make(f"direct-{number}", 100)
        assert bulk_sizes(api.sent[before:]) == []
        await asyncio.sleep(11)
        before = len(api.sent)
        for number in range(10):
            await make(f"later-{number}", 8)
        assert bulk_sizes(api.sent[before:]) == [4]


def test_before_anything_is_measured_a_response_is_expected_within_a_tenth_of_a_second() -> None:
    assert model().expected(50) == 0.1
    assert model().usual_maximum(50) == pytest.approx(0.15)


def test_the_estimate_is_a_line_through_what_was_measured() -> None:
    estimate = model()
    learn(estimate, (1, 0.021), (10, 0.03), (40, 0.06))
    assert estimate.expected(20) == pytest.approx(0.04)
    assert estimate.expected(100) == pytest.approx(0.12)


def test_a_larger_request_is_not_expected_to_take_less_time() -> None:
    estimate = model()
    learn(estimate, (1, 0.06), (40, 0.02))
    assert estimate.expected(1) == estimate.expected(40) == pytest.approx(0.04, abs=0.01)


def test_a_response_is_overdue_after_more_than_the_usual_deviation() -> None:
    steady, varying = model(), model()
    learn(steady, (8, 0.1))
    learn(varying, (8, 0.05), (8, 0.15), times=50)
    assert steady.usual_maximum(8) == pytest.approx(0.15)
    assert 0.2 < varying.usual_maximum(8) < 0.5


@pytest.mark.parametrize(("request_timeout", "longest"), [(30, 0.5), (0.4, 0.2)])
def test_a_request_takes_at_most_half_a_second_and_half_of_its_timeout(
    request_timeout: float, longest: float
) -> None:
    estimate = LatencyModel(request_timeout, 8, 1, max_items=1000)
    learn(estimate, (1, 0.011), (8, 0.018), (25, 0.035))  # 10 ms, and 1 ms for each call
    size = estimate.max_size(400)  # one connection: direct calls would take long
    assert estimate.expected(size) <= longest
    assert estimate.expected(size + 2) > longest


def test_requests_that_are_slow_whatever_their_size_are_not_made() -> None:
    estimate = model(max_connections=1000)
    learn(estimate, (1, 0.02), (4, 0.5), (16, 0.51))
    assert estimate.max_size(100) == 1
    learn(estimate, (1, 0.02), (2, 0.9), (4, 2.0))  # a single item is already too slow
    assert estimate.max_size(100) == 1


def test_sizes_that_are_not_used_any_more_are_forgotten() -> None:
    estimate = model()
    learn(estimate, (1, 0.001), (25, 1.0))
    learn(estimate, (1, 0.001), (4, 0.001), times=400)
    assert estimate.expected(25) == pytest.approx(0.001, rel=0.1)


def test_direct_calls_alone_do_not_make_bulk_requests_forgotten() -> None:
    estimate = model()
    learn(estimate, (1, 0.02), (4, 0.08), (25, 0.5))
    learn(estimate, (1, 0.02), times=5000)
    assert estimate.expected(25) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(("seconds", "is_faster"), [(0.004, True), (0.06, False)])
def test_a_trial_that_is_much_faster_than_expected_ends_the_direct_calls(
    seconds: float, is_faster: bool
) -> None:
    estimate = model()
    learn(estimate, (1, 0.004), (4, 0.08), (25, 0.5))
    learn(estimate, (1, 0.004), times=1000)
    assert estimate.max_size(64) == 1
    assert estimate.begin_trial(64, now=2000.0)
    estimate.record(4, seconds, now=2000.0)
    assert (estimate.max_size(64) > 1) == is_faster
