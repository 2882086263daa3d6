"""Pacing: most of the API's limit is used, and few requests are rejected."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import (
    FixedWindows,
    SlidingWindow,
    TokenBucket,
    call,
    errors_of,
    in_virtual_time,
    limited,
    refusing,
    register,
    work_off,
)

from prefactor_http import PrefactorClientError, PrefactorTimeoutError
from prefactor_http.exceptions import PrefactorRateLimitError


@pytest.mark.no_cover  # so many calls that measuring them doubles their time
@pytest.mark.parametrize(("callers", "latency"), [(8, 0.001), (64, 0.02), (512, 0.001)])
def test_registers_use_most_of_the_limit_and_few_are_rejected(callers, latency):
    async def scenario():
        async with limited(FixedWindows(200).refuse, latency=latency) as (server, client):
            seconds = await work_off(client, 4000, callers, register)
            assert 4000 / seconds >= 0.92 * 200
            assert len(server.requests) <= 1.03 * 4000

    in_virtual_time(scenario())


@pytest.mark.no_cover  # so many calls that measuring them doubles their time
@pytest.mark.parametrize(
    ("callers", "limit", "rows", "share", "max_requests"),
    [
        (1, 20, 1200, 0.85, 1.1),
        (512, 20, 1200, 0.85, 1.1),
        (1, 2000, 4000, 0.7, 1.02),
        # 100 requests are in flight at the first rejection. The limit must be found within 8 s.
        (512, 2000, 16_000, 0.7, 1.02),
    ],
)
def test_most_of_a_small_or_large_limit_is_used(callers, limit, rows, share, max_requests):
    async def scenario():
        async with limited(FixedWindows(limit).refuse) as (server, client):
            seconds = await work_off(client, rows, callers)
            assert rows / seconds >= share * min(limit, callers / 0.001)
            assert len(server.requests) <= max_requests * rows

    in_virtual_time(scenario())


@pytest.mark.parametrize("retry_after", [None, 0])
def test_a_limit_without_retry_after_is_used(retry_after):
    async def scenario():
        limiter = FixedWindows(200, retry_after=retry_after)
        async with limited(limiter.refuse) as (server, client):
            seconds = await work_off(client, 3000, 64)
            assert 3000 / seconds >= 0.8 * 200
            assert len(server.requests) <= 1.03 * 3000

    in_virtual_time(scenario())


@pytest.mark.parametrize("make_call", [call, register], ids=["call", "register"])
def test_a_token_bucket_with_a_small_burst_is_used(make_call):
    async def scenario():
        async with limited(TokenBucket(200, 20).refuse, latency=0.02) as (server, client):
            seconds = await work_off(client, 3000, 64, make_call)
            assert 3000 / seconds >= 0.7 * 200
            assert len(server.requests) <= 1.03 * 3000

    in_virtual_time(scenario())


@pytest.mark.parametrize(("callers", "rows"), [(8, 2000), (64, 2000), (512, 3000)])
@pytest.mark.parametrize(
    "limiter",
    [lambda: FixedWindows(200), lambda: SlidingWindow(200), lambda: TokenBucket(200, 200)],
)
def test_few_requests_are_rejected_and_most_of_the_limit_is_used(limiter, callers, rows):
    async def scenario():
        async with limited(limiter().refuse) as (server, client):
            seconds = await work_off(client, rows, callers)
            assert len(server.requests) <= 1.05 * rows
            assert rows / seconds >= 0.85 * 200

    in_virtual_time(scenario())


@pytest.mark.parametrize("begun", [0.3, 0.6, 0.8])
def test_windows_that_started_before_the_first_call_cost_little(begun):
    async def scenario():
        async with limited(FixedWindows(200).refuse) as (server, client):
            await asyncio.sleep(begun)
            seconds = await work_off(client, 3000, 512)
            assert len(server.requests) <= 1.05 * 3000
            assert 3000 / seconds >= 0.8 * 200

    in_virtual_time(scenario())


def test_responses_in_flight_at_a_rejection_cost_little():
    async def scenario():
        async with limited(FixedWindows(200).refuse, latency=0.05) as (server, client):
            seconds = await work_off(client, 3000, 512)
            assert len(server.requests) <= 1.05 * 3000
            assert 3000 / seconds >= 0.85 * 200

    in_virtual_time(scenario())


def test_an_api_with_a_limit_of_one_call_a_minute_gets_few_more():
    async def scenario():
        limiter = FixedWindows(1, window=60, retry_after=60)
        async with limited(limiter.refuse, max_retry_delay=90.0) as (server, client):
            await work_off(client, 12, 4)
            assert len([time for time in server.refused if time > 90]) <= 4
            assert server.requests[-1] <= 14 * 60

    in_virtual_time(scenario())


def test_a_raised_limit_is_used():
    async def scenario():
        limiter = FixedWindows(50)
        async with limited(limiter.refuse) as (server, client):
            await work_off(client, 500, 64)
            limiter.limit = 1000
            await work_off(client, 3000, 64)
            seconds = await work_off(client, 2000, 64)
            assert 2000 / seconds > 150
            assert len(server.refused) < 0.05 * 5500

    in_virtual_time(scenario())


def test_an_outage_gets_one_request_per_pause_and_then_full_speed():
    async def scenario():
        refuse = refusing((0.0, 10.0))
        async with limited(refuse, retry_budget=None, max_retries=20) as (server, client):
            seconds = await work_off(client, 1000, 64)
            assert len(server.refused) <= 64 + 12
            assert seconds < 20

    in_virtual_time(scenario())


def test_pacing_ends_after_a_long_time_without_rejections():
    async def scenario():
        async with limited(refusing((0.0, 0.5))) as (server, client):
            await call(client)
            await asyncio.sleep(5)
            await call(client)
            sent = len(server.requests)
            await asyncio.gather(*[call(client) for _ in range(100)])
            assert server.requests[sent] == server.requests[-1]  # all immediately

    in_virtual_time(scenario())


def test_an_occasional_call_does_not_wait():
    async def scenario():
        loop = asyncio.get_running_loop()
        async with limited(FixedWindows(20).refuse) as (_, client):
            await work_off(client, 100, 30)
            for _ in range(10):
                await asyncio.sleep(0.5)
                started = loop.time()
                await call(client)
                assert loop.time() - started == pytest.approx(0.001, abs=0.001)

    in_virtual_time(scenario())


def test_low_demand_does_not_lower_the_estimated_limit():
    async def scenario():
        async with limited(refusing((0.0, 0.5), (30.0, 30.01))) as (_, client):
            await asyncio.gather(*[call(client) for _ in range(2)])
            for _ in range(280):  # ten a second
                await work_off(client, 1, 1)
                await asyncio.sleep(0.003)
            await asyncio.sleep(1.0)
            assert await work_off(client, 200, 50) < 3

    in_virtual_time(scenario())


async def refused_once(client):
    with pytest.raises(PrefactorRateLimitError):
        await call(client.with_options(max_retries=0))


def test_a_call_cancelled_in_the_queue_frees_its_place():
    async def scenario():
        async with limited(refusing((0.0, 0.5))) as (server, client):
            await refused_once(client)
            waiting = [asyncio.create_task(call(client)) for _ in range(10)]
            await asyncio.sleep(0.5)
            for each in waiting[:8]:
                each.cancel()
            await asyncio.gather(*waiting[8:])
            assert server.requests[1:] == pytest.approx([1.001, 1.003], abs=0.001)

    in_virtual_time(scenario())


def test_a_deadline_shorter_than_the_pause_fails_immediately():
    async def scenario():
        loop = asyncio.get_running_loop()
        async with limited(refusing((0.0, 9.0)), deadline=0.5) as (server, client):
            await refused_once(client)
            started = loop.time()
            errors = await errors_of([call(client) for _ in range(5)])
            assert {type(error) for error in errors} == {PrefactorTimeoutError}
            assert {error.attempts for error in errors} == {0}
            assert [error.retry_after for error in errors] == pytest.approx([1.0] * 5)
            assert not any(error.outcome_unknown for error in errors)
            assert "asks to wait for 1 s before the next request" in str(errors[0])
            assert loop.time() == started
            assert len(server.requests) == 1

    in_virtual_time(scenario())


def test_a_deadline_ends_the_wait_in_the_queue():
    async def scenario():
        async with limited(FixedWindows(20).refuse) as (_, client):
            await work_off(client, 60, 30)
            waiting = [asyncio.create_task(call(client)) for _ in range(20)]
            impatient = client.with_options(deadline=0.5)
            errors = await errors_of([call(impatient) for _ in range(5)])
            assert {type(error) for error in errors} == {PrefactorTimeoutError}
            assert {error.attempts for error in errors} == {0}
            await asyncio.gather(*waiting)

    in_virtual_time(scenario())


def test_closing_the_client_ends_the_wait_in_the_queue():
    async def scenario():
        async with limited(refusing((0.0, 9.0))) as (server, client):
            await refused_once(client)
            waiting = [asyncio.create_task(call(client)) for _ in range(5)]
            await asyncio.sleep(0.1)
            await client.close()
            errors = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(error) for error in errors] == [PrefactorClientError] * 5
            assert len(server.requests) == 1

    in_virtual_time(scenario())
