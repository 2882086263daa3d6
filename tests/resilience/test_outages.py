"""A restart of the API fails no calls, and a long outage causes no retry storm."""

from __future__ import annotations

import asyncio
import resource
from contextlib import contextmanager

import pytest
from virtual_time import (
    RandomRejections,
    VirtualServer,
    call,
    errors_of,
    in_virtual_time,
    limited,
    register,
    rejection,
    response,
    serving,
)

from prefactor_http import (
    HttpClientConfig,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorHttpError,
)

# Thousands of calls through code that other tests cover: measuring them doubles their time.
pytestmark = pytest.mark.no_cover

UNAVAILABLE = response(503)


@contextmanager
def open_files(count):
    """Raise the limit of open files, which includes sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            pytest.skip(f"needs {count} open files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def now() -> float:
    return asyncio.get_running_loop().time()


def failing(answer, start=2.0, end=3.0):
    return lambda t, *_: answer if start <= t < end else None


OUTAGES = {
    "503": failing(UNAVAILABLE),
    "503 with Retry-After": failing(rejection(1, 503)),
    "reset": failing(VirtualServer.RESET),
    "refused": failing(None),
}


@pytest.mark.parametrize("kind", OUTAGES)
@pytest.mark.parametrize(("callers", "connections"), [(100, 100), (500, 50), (500, 500)])
def test_an_outage_of_one_second_fails_no_calls(kind, callers, connections):
    async def scenario():
        results = []

        async def caller(number):
            await asyncio.sleep(1.5 + number / callers / 2)
            while now() < 3.2:
                try:
                    results.append(await register(client))
                except PrefactorHttpError as error:
                    results.append(error)
                await asyncio.sleep(0.4)

        async def restart():
            await asyncio.sleep(2)
            server.stop()
            await asyncio.sleep(1)
            await server.start(server.port)

        answer = OUTAGES[kind]
        async with serving(answer, latency=0.02, max_connections=connections) as (server, client):
            restarting = asyncio.create_task(restart()) if kind == "refused" else None
            await asyncio.gather(*[caller(number) for number in range(callers)])
            if restarting:
                await restarting
            failed = [result for result in results if isinstance(result, Exception)]
            assert len(results) >= 2 * callers
            assert failed == []

    with open_files(4 * connections + 200):
        in_virtual_time(scenario())


@pytest.mark.parametrize("kind", ["503", "reset"])
def test_calls_that_start_during_an_outage_of_one_second_succeed(kind):
    answer = {"503": UNAVAILABLE, "reset": VirtualServer.RESET}[kind]

    async def scenario():
        outage = failing(answer, 0.0, 1.0)
        async with serving(outage, max_connections=50) as (server, client):
            await asyncio.gather(*[register(client) for _ in range(500)])
            assert len(server.requests) <= 4 * 500

    in_virtual_time(scenario())


def test_three_retries_outlast_a_restart_of_three_seconds():
    async def scenario():
        async with serving(failing(UNAVAILABLE, 0.0, 3.0)) as (_, client):
            await asyncio.gather(*[register(client) for _ in range(100)])

    in_virtual_time(scenario())


def test_retries_are_bounded_while_half_of_all_attempts_fail():
    async def scenario():
        refuse = RandomRejections(0.5, None, 503).refuse
        async with limited(refuse, latency=0.02) as (server, client):

            async def caller():
                for _ in range(20):
                    await asyncio.gather(call(client), return_exceptions=True)

            await asyncio.gather(*[caller() for _ in range(100)])
            assert len(server.requests) <= 1.95 * 2000  # 1 + 1/2 + 1/4 + 1/8 = 1.875

    in_virtual_time(scenario())


@pytest.mark.parametrize("answer", [UNAVAILABLE, VirtualServer.RESET], ids=["503", "reset"])
@pytest.mark.parametrize("connections", [5, 20])
def test_a_long_outage_gets_twenty_retries_per_connection(answer, connections):
    async def scenario():
        async with serving(lambda *_: answer, max_connections=connections) as (server, client):
            calls = 0
            while now() < 30:
                errors = await errors_of([register(client) for _ in range(50)])
                calls += len(errors)
                await asyncio.sleep(1)
            assert len(server.requests) - calls == 20 * connections
            assert all(error.retry_budget_exhausted for error in errors)

    in_virtual_time(scenario())


def test_retries_of_requests_that_were_not_sent_are_free():
    async def scenario():
        async with serving(lambda *_: None, retry_budget=0) as (server, client):
            server.stop()
            errors = await errors_of([call(client) for _ in range(20)])
            assert {error.attempts for error in errors} == {4}
            assert not any(error.retry_budget_exhausted for error in errors)
            assert {type(error.last_error) for error in errors} == {PrefactorConnectionError}

    in_virtual_time(scenario())


def test_retry_budget_may_be_a_number_or_none():
    async def scenario():
        for budget, attempts in ((0, 1), (5, 2), (None, 4)):
            async with serving(lambda *_: UNAVAILABLE, retry_budget=budget) as (_, client):
                (error,) = await errors_of([call(client)])
                assert error.attempts == attempts

    in_virtual_time(scenario())


def test_retries_after_an_outage_are_spread_out():
    async def scenario():
        outage = failing(UNAVAILABLE, 0.0, 1.0)
        async with serving(outage, max_connections=50) as (server, client):
            await asyncio.gather(*[call(client) for _ in range(500)])
            after = [t for t in server.requests if t >= 1]
            busiest = max(len([t for t in after if s / 10 <= t < (s + 1) / 10]) for s in range(50))
            assert busiest <= 150

    in_virtual_time(scenario())


async def test_a_restart_in_real_time_fails_no_calls():
    loop = asyncio.get_running_loop()
    back_at = loop.time() + 1
    async with VirtualServer(lambda t, *_: UNAVAILABLE if t < back_at else None) as server:
        config = HttpClientConfig(server.url, "a-token")
        async with PrefactorHttpClient(config) as client:
            results = await asyncio.gather(*[register(client) for _ in range(300)])
            assert len({result.id for result in results}) == 300
