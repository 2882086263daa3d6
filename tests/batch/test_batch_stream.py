"""The stream object: cancelled waits, closing and cleaning up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import pytest
from batch_support import (
    client_of,
    collect,
    in_order,
    indexes,
    register,
    register_rows,
    registered,
    rows,
    states,
    until,
)

from prefactor_http import PrefactorAuthError, PrefactorConnectionError
from prefactor_http.testing import Fault, FaultKind, LocalPrefactor, serving


def other_tasks() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture
def threaded_api():
    with serving(LocalPrefactor()) as api:
        yield api


async def test_a_timeout_on_the_next_outcome_loses_nothing(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.DELAYED, seconds=0.3))
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, rows(50), chunk_size=10, concurrency=1)
        outcomes, timeouts = [], 0
        while True:
            try:
                outcomes.append(await asyncio.wait_for(anext(stream), 0.05))
            except TimeoutError:
                timeouts += 1
            except StopAsyncIteration:
                break
    assert timeouts >= 3
    assert indexes(outcomes) == list(range(50))
    assert states(outcomes) == {"ok": 50}
    assert len(threaded_api.instances) == 50


async def test_a_timeout_while_an_async_source_waits_loses_nothing(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    more = asyncio.Event()

    async def source():
        yield {"external_identifier": "a"}
        await more.wait()
        yield {"external_identifier": "b"}

    stream = register_rows(raw_client, source())
    assert (await anext(stream)).ok
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.02)
    more.set()
    assert [outcome.index for outcome in await collect(stream)] == [1]


async def test_a_timeout_during_an_outage_and_at_the_end_loses_no_error(raw_server):
    raw_server.answer = lambda _: b""
    async with client_of(raw_server, initial_retry_delay=0.2, max_retry_delay=0.2) as client:
        stream = register_rows(client, rows(3), max_outage=0.5)
        timeouts, outcomes, errors = 0, [], []
        while not errors:
            try:
                outcomes.append(await asyncio.wait_for(anext(stream), 0.05))
            except TimeoutError:
                timeouts += 1
            except Exception as error:  # noqa: BLE001 # compared below
                errors.append(error)
        assert timeouts >= 4
        assert indexes(outcomes) == [0, 1, 2]
        assert "failed" in str(errors[0])
        assert [outcome async for outcome in stream] == []


async def test_two_tasks_cannot_wait_for_the_next_outcome_concurrently(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, rows(3))
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task is already waiting"):
            await anext(stream)
        assert (await first).ok
        assert len(await collect(stream)) == 2


async def test_closing_ends_the_wait_of_another_task(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, rows(3))
        waiting = asyncio.create_task(anext(stream))
        await until(lambda: threaded_api.requests)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert other_tasks() == set()
    assert threaded_api.doubled == []


async def test_a_stream_can_be_closed_at_any_time_and_more_than_once(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    stream = register_rows(raw_client, rows(30))
    await stream.aclose()
    await stream.aclose()
    assert await collect(stream) == []
    assert raw_server.requests == []
    stream = register_rows(raw_client, rows(30))
    assert (await anext(stream)).ok
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_has_the_methods_of_an_async_generator(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    stream = register_rows(raw_client, rows(3))
    assert isinstance(stream, AsyncGenerator)
    assert aiter(stream) is stream
    assert (await stream.asend(None)).ok
    with pytest.raises(ZeroDivisionError):
        await stream.athrow(ZeroDivisionError)
    with pytest.raises(StopAsyncIteration):
        await stream.asend(None)


async def test_a_garbage_collected_stream_waits_for_requests_in_flight(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, rows(100), chunk_size=5, concurrency=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        del stream
        gc.collect()
        await until(lambda: not other_tasks())
    assert 0 < len(threaded_api.instances) <= 15
    assert threaded_api.doubled == []


async def test_a_garbage_collected_stream_that_backs_off_closes_immediately(raw_server):
    raw_server.answer = lambda _: b""
    async with client_of(raw_server, initial_retry_delay=60.0, max_retry_delay=60.0) as client:
        stream = register_rows(client, rows(3))
        with suppress(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.1)
        del stream
        async with asyncio.timeout(2):
            await until(
                lambda: "_close" not in str(other_tasks()) and "_sleep" not in str(other_tasks())
            )


def test_a_stream_can_outlive_its_event_loop():
    kept = []

    async def main():
        with serving(LocalPrefactor()) as api:
            async with client_of(api) as client:
                stream = register(client, api, rows(3))
                assert (await anext(stream)).ok
                kept.append(stream)

    asyncio.run(main())
    kept.clear()
    gc.collect()


async def test_a_cancelled_close_leaves_no_task(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=30))
    async with client_of(threaded_api, request_timeout=60.0) as client:
        stream = register(client, threaded_api, rows(3))
        with suppress(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.aclose(), 0.05)
        assert other_tasks() == set()
        assert await collect(stream) == []


async def test_a_close_that_is_cancelled_at_the_end_hides_no_error(raw_server):
    raw_server.answer = lambda _: b""
    entered = asyncio.Event()

    async def source():
        try:
            yield {}
            yield {}
        finally:
            entered.set()
            await asyncio.sleep(0.1)

    async with client_of(raw_server, max_retries=0) as client:
        stream = register_rows(client, source(), max_outage=0)
        outcomes = [await anext(stream)]
        waiting = asyncio.create_task(anext(stream))
        await entered.wait()
        waiting.cancel()
        with suppress(asyncio.CancelledError, Exception):
            outcomes.append(await waiting)
        with pytest.raises(PrefactorConnectionError):
            outcomes += [outcome async for outcome in stream]


async def test_reading_outcomes_lets_other_tasks_run(threaded_api):
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, rows(20))
        async with aclosing(stream) as outcomes:
            assert [outcome.ok async for outcome in outcomes] == [True] * 20


async def test_the_error_that_ends_a_stream_is_raised_once(threaded_api):
    threaded_api.set_token_active(threaded_api.token, active=False)
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, rows(2))
        assert [(await anext(stream)).index, (await anext(stream)).index] == [0, 1]
        with pytest.raises(PrefactorAuthError):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
