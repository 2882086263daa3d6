"""How a batch shuts down: break, exceptions, cancellation, and sources that end or raise."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing

import pytest
from batch_support import (
    assert_nothing_doubled_or_lost,
    client_of,
    collect,
    collect_until_error,
    indexes,
    register,
    rows,
    until,
)

from prefactor_http import PrefactorAuthError
from prefactor_http.testing import Fault, FaultKind, LocalPrefactor, serving


@pytest.fixture
def threaded_api():
    """A server with its own event loop, so that all tasks of the test's loop are the client's."""
    with serving(LocalPrefactor()) as api:
        yield api


def other_tasks() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


class Source:
    """An endless generator or async generator that records whether it was closed."""

    def __init__(self, count: int = 10**9) -> None:
        self.count = count
        self.pulled = 0
        self.is_closed = False

    def plain(self):
        try:
            for row in rows(self.count):
                self.pulled += 1
                yield row
        finally:
            self.is_closed = True

    async def slow(self):
        try:
            for row in rows(self.count):
                await asyncio.sleep(0)
                self.pulled += 1
                yield row
        finally:
            self.is_closed = True


@pytest.mark.parametrize("kind", ["plain", "slow"])
async def test_breaking_out_of_the_loop_leaves_no_task_and_closes_the_source(threaded_api, kind):
    source = Source()
    referenced_rows = getattr(source, kind)()  # keeps the garbage collector from closing it
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, referenced_rows, chunk_size=5, concurrency=3)
        async with aclosing(stream):
            async for outcome in stream:
                assert outcome.ok
                break
        assert other_tasks() == set()
        assert source.is_closed
        assert source.pulled <= 4 * 5 + 1
        assert (await client.agent_instances.list(agent_id=threaded_api.agent_id)).items
    assert_nothing_doubled_or_lost(threaded_api)


@pytest.mark.parametrize("kind", ["plain", "slow"])
async def test_an_exception_in_the_consumer_leaves_no_task(threaded_api, kind):
    source = Source()
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, getattr(source, kind)(), chunk_size=5)

        async def consume():
            async with aclosing(stream):
                async for outcome in stream:
                    raise ZeroDivisionError(outcome.index)

        with pytest.raises(ZeroDivisionError):
            await consume()
        assert other_tasks() == set()
    assert source.is_closed
    assert_nothing_doubled_or_lost(threaded_api)


async def test_a_stream_that_is_not_closed_explicitly_is_closed_in_the_background(threaded_api):
    source = Source()
    async with client_of(threaded_api) as client:
        async for outcome in register(client, threaded_api, source.slow(), chunk_size=5):
            assert outcome.ok
            break
        await until(lambda: not other_tasks())
    assert source.is_closed
    gc.collect()


async def test_a_cancelled_batch_waits_for_requests_in_flight_and_leaves_no_task(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    source = Source()
    async with client_of(threaded_api) as client:
        stream = register(client, threaded_api, source.slow(), chunk_size=5, concurrency=1)
        task = asyncio.create_task(collect(stream))
        await until(lambda: threaded_api.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other_tasks() == set()
    assert source.is_closed
    assert len(threaded_api.instances) >= 1
    assert_nothing_doubled_or_lost(threaded_api)


async def test_a_second_cancellation_stops_immediately(threaded_api):
    threaded_api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=30))
    async with client_of(threaded_api, request_timeout=60.0) as client:
        task = asyncio.create_task(collect(register(client, threaded_api, rows(3))))
        await until(lambda: threaded_api.requests)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        async with asyncio.timeout(3):
            await asyncio.wait([task])
        assert task.cancelled()
        assert other_tasks() == set()


async def test_a_batch_that_backs_off_closes_immediately(threaded_api):
    async with client_of(
        threaded_api, max_retries=0, initial_retry_delay=60.0, max_retry_delay=60.0
    ) as client:
        for prepare in (
            lambda: threaded_api.fail_next(FaultKind.UNAVAILABLE),
            lambda: threaded_api.fail_next_item("rate_limited"),
        ):
            before = len(threaded_api.requests)
            prepare()
            task = asyncio.create_task(collect(register(client, threaded_api, rows(3))))
            await until(lambda before=before: len(threaded_api.requests) > before)
            await asyncio.sleep(0.05)
            task.cancel()
            async with asyncio.timeout(3):
                await asyncio.wait([task])
            assert other_tasks() == set()


async def test_a_response_ends_the_backoff_of_an_outage(threaded_api):
    # One of two requests fails and backs off for a minute, until the other one succeeds.
    threaded_api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1), FaultKind.UNAVAILABLE)
    async with client_of(
        threaded_api, max_retries=0, initial_retry_delay=60.0, max_retry_delay=60.0
    ) as client:
        async with asyncio.timeout(10):
            outcomes = await collect(register(client, threaded_api, rows(4), chunk_size=2))
    assert indexes(outcomes) == [0, 1, 2, 3]
    assert all(outcome.ok for outcome in outcomes)


@pytest.mark.parametrize("kind", ["plain", "slow"])
@pytest.mark.parametrize("count", [0, 1, 250])
async def test_sources_can_be_plain_or_async_and_empty(api, client, kind, count):
    source = Source(count)
    outcomes = await collect(register(client, api, getattr(source, kind)()))
    assert indexes(outcomes) == list(range(count))
    assert all(outcome.ok for outcome in outcomes)
    assert source.is_closed
    assert len(api.requests) >= bool(count)


async def test_an_async_source_can_be_any_async_iterable(api, client):
    class Numbered:
        def __init__(self):
            self.left = 7

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return {"external_identifier": f"n-{self.left}"}

    assert len(await collect(register(client, api, Numbered()))) == 7


async def test_outcomes_are_reported_while_an_async_source_waits(api, client):
    more = asyncio.Event()

    async def source():
        yield {"external_identifier": "first"}
        await more.wait()
        yield {"external_identifier": "second"}

    stream = register(client, api, source())
    async with asyncio.timeout(10):
        assert (await anext(stream)).ok
    more.set()
    assert [outcome.index for outcome in await collect(stream)] == [1]


@pytest.mark.parametrize("kind", ["plain", "slow"])
async def test_items_before_an_exception_of_the_source_are_sent_and_reported_first(
    api, client, kind
):
    given = Source(25)

    def plain():
        yield from given.plain()
        raise ZeroDivisionError("the file is torn")

    async def slow():
        async for row in given.slow():
            yield row
        raise ZeroDivisionError("the file is torn")

    source = {"plain": plain, "slow": slow}[kind]()
    outcomes, error = await collect_until_error(
        register(client, api, source, chunk_size=10), ZeroDivisionError
    )
    assert str(error) == "the file is torn"
    assert indexes(outcomes) == list(range(25))
    assert all(outcome.ok for outcome in outcomes)


async def test_a_run_that_ends_early_does_not_wait_for_the_source(threaded_api):
    never = asyncio.Event()

    async def source():
        yield {"external_identifier": "first"}
        await never.wait()

    threaded_api.set_token_active(threaded_api.token, active=False)
    async with client_of(threaded_api) as client:
        async with asyncio.timeout(10):
            outcomes, _ = await collect_until_error(
                register(client, threaded_api, source()), PrefactorAuthError
            )
    assert indexes(outcomes) == [0]
    assert other_tasks() == set()


async def test_an_outage_costs_no_cpu_while_an_async_source_has_more(threaded_api):
    threaded_api.fail_next(FaultKind.UNAVAILABLE)

    async def source():
        yield {"external_identifier": "first"}
        await asyncio.sleep(0.05)
        yield {"external_identifier": "second"}

    async with client_of(
        threaded_api, max_retries=0, initial_retry_delay=0.2, max_retry_delay=0.2
    ) as client:
        loop = asyncio.get_running_loop()
        handles = 0
        call_soon = loop.call_soon

        def counted(*args, **kwargs):
            nonlocal handles
            handles += 1
            return call_soon(*args, **kwargs)

        loop.call_soon = counted
        try:
            outcomes = await collect(register(client, threaded_api, source()))
        finally:
            del loop.call_soon
    assert indexes(outcomes) == [0, 1]
    assert handles < 300


async def test_a_source_of_invalid_rows_lets_other_tasks_run(api, client):
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    outcomes = await collect(register(client, api, ({"odd": 1} for _ in range(20_000))))
    task.cancel()
    assert len(outcomes) == 20_000
    assert turns > 10
    assert api.requests == []
