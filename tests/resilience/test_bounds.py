"""Limits: timeouts, deadline, attempts in flight, throttling, retry budget, response size."""

from __future__ import annotations

import asyncio
import time
from itertools import accumulate
from types import SimpleNamespace

import pytest
from raw_server import reply
from resilience_support import HeldClock, until

from prefactor_http import (
    PrefactorApiError,
    PrefactorRateLimitError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)
from prefactor_http.testing import Fault, FaultKind


async def test_a_deadline_ends_an_attempt_in_flight(api, client_for, register):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    client = (await client_for(api)).with_options(deadline=0.2)
    started = time.monotonic()
    with pytest.raises(PrefactorTimeoutError, match=r"deadline of 0\.2 s") as caught:
        await register(client)
    assert time.monotonic() - started < 5
    assert caught.value.outcome_unknown
    assert caught.value.attempts == 1


async def test_a_deadline_ends_a_wait_at_the_rate_limiter(api, client_for, register):
    client = await client_for(api, max_retry_delay=60.0)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=50))
    waiting = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await asyncio.sleep(0.05)
    with pytest.raises(PrefactorTimeoutError) as caught:
        await register(client.with_options(deadline=0.1))
    assert caught.value.attempts == 0
    assert not caught.value.outcome_unknown
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_wait_beyond_the_deadline_raises_immediately(api, client_for, register, clock):
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=30))
    client = await client_for(api, clock=clock, max_retry_delay=60.0, deadline=20.0)
    with pytest.raises(PrefactorApiError) as caught:
        await register(client)
    assert caught.value.status_code == 503
    assert caught.value.retry_after == 30
    assert clock.sleeps == []
    assert any("deadline" in note for note in caught.value.__notes__)


async def test_a_call_with_a_deadline_succeeds(api, client_for, register):
    client = await client_for(api, request_timeout=0.3, deadline=30.0)
    assert (await register(client)).status == "pending"


class Overlap:
    """Counts the attempts in flight at a time, as an `on_attempt` hook."""

    def __init__(self) -> None:
        self.edges: list[tuple[float, int]] = []

    def __call__(self, attempt):
        now = time.monotonic()
        self.edges += [(now - attempt.seconds, 1), (now, -1)]

    @property
    def most(self) -> int:
        return max(accumulate(step for _, step in sorted(self.edges)))


async def test_waiting_for_a_slot_does_not_count_towards_the_request_timeout(
    api, client_for, register
):
    api.fail_next(*[Fault(FaultKind.DELAYED, seconds=0.25)] * 6)
    overlap = Overlap()
    client = await client_for(
        api, max_connections=1, request_timeout=0.9, max_retries=0, on_attempt=overlap
    )
    instances = await asyncio.gather(*(register(client) for _ in range(6)))  # 1.5 s in all
    assert len({instance.id for instance in instances}) == 6
    assert overlap.most == 1


async def test_max_connections_limits_the_attempts_in_flight(api, client_for, register):
    api.fail_next(*[Fault(FaultKind.DELAYED, seconds=0.05)] * 30)
    overlap = Overlap()
    client = await client_for(api, max_connections=5, on_attempt=overlap)
    await asyncio.gather(*(register(client) for _ in range(30)))
    assert overlap.most == 5


async def test_a_slot_granted_to_a_cancelled_call_is_released(api, client_for, register):
    client = await client_for(api, max_connections=1)
    for _ in range(20):
        calls = [asyncio.create_task(register(client)) for _ in range(4)]
        await asyncio.sleep(0.003)
        for call in calls[:3]:
            call.cancel()
        await asyncio.wait(calls)
    assert (await asyncio.wait_for(register(client), 10)).status == "pending"


async def test_a_429_pauses_all_calls_of_the_operation(api, client_for, register):
    clock = HeldClock()
    client = await client_for(api, clock=clock, max_retry_delay=60.0)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=12))
    first = asyncio.create_task(register(client))
    await until(lambda: len(clock.sleeps) == 1)
    second = asyncio.create_task(register(client.with_options(max_retries=0)))
    await until(lambda: len(clock.sleeps) == 2)
    assert clock.sleeps == [pytest.approx(12, abs=0.5)] * 2
    assert len(api.requests) == 1
    clock.release()
    assert (await first).status == (await second).status == "pending"


async def test_a_429_without_retry_after_pauses_for_the_backoff(api, client_for, register, clock):
    client = await client_for(
        api, clock=clock, initial_retry_delay=5.0, max_retry_delay=60.0, retry_multiplier=1.0
    )
    api.fail_next(*[Fault(FaultKind.RATE_LIMITED)] * 3)
    await register(client)
    assert len([wait for wait in clock.sleeps if wait > 0]) >= 3


@pytest.mark.parametrize(
    ("fault", "is_paced"), [(FaultKind.UNAVAILABLE, False), (FaultKind.RATE_LIMITED, True)]
)
async def test_calls_are_paced_after_a_429_but_not_after_a_503(
    api, client_for, register, clock, fault, is_paced
):
    api.fail_next(Fault(fault, retry_after=12))
    client = await client_for(api, clock=clock, max_retry_delay=60.0)
    await register(client)
    waits = len(clock.sleeps)
    await asyncio.gather(*[register(client) for _ in range(50)])
    assert (len(clock.sleeps) > waits) == is_paced


async def test_an_exhausted_retry_budget_raises_and_is_reported(api, client_for, register, clock):
    client = await client_for(api, clock=clock, retry_budget=10, max_retries=9)
    api.fail_next(*[Fault(FaultKind.INTERNAL_ERROR)] * 9)
    with pytest.raises(PrefactorApiError) as caught:
        await register(client)
    assert caught.value.retry_budget_exhausted
    assert caught.value.attempts == 3  # two retries cost 5 each
    assert caught.value.outcome_unknown


async def test_a_retry_after_a_timeout_costs_twice_as_much(api, client_for, register, clock):
    client = await client_for(
        api, clock=clock, retry_budget=10, max_retries=9, request_timeout=0.15
    )
    api.fail_next(*[Fault(FaultKind.STALLED_BEFORE_REPLY)] * 3)
    with pytest.raises(PrefactorTimeoutError) as caught:
        await register(client)
    assert caught.value.attempts == 2


async def test_a_retry_after_a_429_is_free(api, client_for, register, clock):
    api.fail_next(*[Fault(FaultKind.RATE_LIMITED, retry_after=1)] * 3)
    client = await client_for(api, clock=clock, retry_budget=4, max_retries=3, max_retry_delay=60.0)
    assert (await register(client)).status == "pending"
    assert len(api.requests) == 4


async def test_successes_refill_the_retry_budget(api, client_for, register, clock):
    client = await client_for(api, clock=clock, retry_budget=5, max_retries=1)
    for _ in range(3):  # a success after a retry returns its tokens
        api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
        await register(client)
    api.fail_next(*[Fault(FaultKind.INTERNAL_ERROR)] * 2)
    with pytest.raises(PrefactorRetryExhaustedError):
        await register(client)
    for _ in range(5):  # a success without a retry adds one token
        await register(client)
    api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
    await register(client)


async def test_views_share_the_retry_budget(api, client_for, register, clock):
    client = await client_for(api, clock=clock, retry_budget=5, max_retries=5)
    api.fail_next(*[Fault(FaultKind.INTERNAL_ERROR)] * 3)
    with pytest.raises(PrefactorApiError):
        await register(client.with_options(max_retries=4))
    with pytest.raises(PrefactorApiError) as caught:
        await register(client)
    assert caught.value.retry_budget_exhausted
    assert caught.value.attempts == 1


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [70_000, 3_000_000])
async def test_a_response_above_max_response_bytes_is_rejected(
    api, client_for, register, size, compressed
):
    client = await client_for(api, max_response_bytes=50_000)
    api.fail_next(Fault(FaultKind.OVERSIZED_REPLY, size=size, compressed=compressed))
    with pytest.raises(PrefactorResponseContractError, match="max_response_bytes") as caught:
        await register(client)
    assert caught.value.outcome_unknown
    assert (await register(client)).status == "pending"


async def test_a_large_response_within_the_limit_is_read(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.OVERSIZED_REPLY, size=3_000_000))
    assert (await register(client)).status == "pending"


async def test_a_429_raises_a_rate_limit_error(api, client_for, register):
    client = await client_for(api, max_retries=0)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=3))
    with pytest.raises(PrefactorRateLimitError) as caught:
        await register(client)
    assert caught.value.retry_after == 3
    assert caught.value.code == "rate_limited"
    assert not caught.value.outcome_unknown


async def test_a_call_cancelled_while_it_waits_for_a_slot_frees_none(raw_server, client_for):
    release = asyncio.Event()

    async def answer(_):
        await release.wait()
        return reply(200, {"status": "success"})

    raw_server.answer = answer
    api = SimpleNamespace(url=raw_server.url, token="token-1234")
    client = await client_for(api, max_connections=1)
    first, waiting, last = (asyncio.create_task(client.validate_token()) for _ in range(3))
    await until(lambda: raw_server.requests)
    waiting.cancel()
    await asyncio.wait([waiting])
    fourth = asyncio.create_task(client.validate_token())
    await asyncio.wait([last, fourth], timeout=0.05)
    assert len(raw_server.requests) == 1  # the only slot is in use
    release.set()
    await asyncio.gather(first, last, fourth)
    assert len(raw_server.requests) == 3
    assert raw_server.connections == 1
