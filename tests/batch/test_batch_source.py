"""How a source is pulled, and when a request is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from batch_support import (
    collect,
    in_order,
    indexes,
    items_sent,
    register_rows,
    registered,
    rows,
    states,
    until,
)

from prefactor_http import HttpClientConfig, PrefactorHttpClient


class SourceClock:
    """A clock that advances only when a source takes time or a task sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds

    def rows(self, count: int, seconds: float, first: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the first rows immediately, and then one after each interval."""
        for number, row in enumerate(rows(count)):
            if number >= first:
                self.now += seconds
            yield row


@pytest.fixture
def clock():
    return SourceClock()


@pytest.fixture
async def timed_client(raw_server, clock):
    raw_server.answer = in_order(registered)
    config = HttpClientConfig(raw_server.url, "token-1234")
    async with PrefactorHttpClient(config, clock=clock) as client:
        yield client


class LoopRowCounter:
    """Counts the rows that a source yields between two iterations of the event loop."""

    def __init__(self, source: Iterator[dict[str, Any]]) -> None:
        self._source = source
        self.rows = self.max_rows = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._source:
            self.rows += 1
            self.max_rows = max(self.max_rows, self.rows)
            yield row

    async def __aiter__(self):
        for row in self:
            yield row

    async def count(self) -> None:
        while True:
            self.rows = 0
            await asyncio.sleep(0)


async def max_rows_per_iteration(client, counter: LoopRowCounter, source: Any) -> int:
    counting = asyncio.create_task(counter.count())
    try:
        assert states(await collect(register_rows(client, source))) == {"ok": 150}
    finally:
        counting.cancel()
    return counter.max_rows


async def test_a_slow_plain_source_blocks_the_loop_for_50_ms_at_a_time(timed_client, clock):
    counter = LoopRowCounter(clock.rows(150, 0.005))
    assert await max_rows_per_iteration(timed_client, counter, iter(counter)) == 10


async def test_a_source_that_becomes_slow_blocks_the_loop_for_50_ms_at_a_time(timed_client, clock):
    counter = LoopRowCounter(clock.rows(150, 0.02, first=120))
    source = iter(counter)
    for _ in range(120):
        next(source)
    counter.rows = counter.max_rows = 0
    await read_rest(timed_client, counter, source)
    assert counter.max_rows == 3


async def read_rest(client, counter: LoopRowCounter, source: Any) -> None:
    counting = asyncio.create_task(counter.count())
    try:
        assert states(await collect(register_rows(client, source))) == {"ok": 30}
    finally:
        counting.cancel()


async def test_an_async_source_that_never_waits_lets_other_tasks_run(timed_client, clock):
    counter = LoopRowCounter(clock.rows(150, 0.005))
    assert await max_rows_per_iteration(timed_client, counter, aiter(counter)) <= 11


async def test_a_request_is_sent_when_it_is_full(timed_client, clock, raw_server):
    stream = register_rows(timed_client, clock.rows(60, 0.004), chunk_size=20)
    assert indexes(await collect(stream)) == list(range(60))
    # 80 ms each, well before the linger time of half a second.
    assert [len(items_sent(request)) for request in raw_server.requests] == [20, 20, 20]


async def test_a_request_is_sent_when_it_reaches_max_chunk_bytes(timed_client, clock, raw_server):
    stream = register_rows(timed_client, clock.rows(60, 0.004), max_chunk_bytes=2000)
    assert len(await collect(stream)) == 60
    sizes = [len(request.body) for request in raw_server.requests]
    assert max(sizes) <= 2000
    assert min(sizes[:-1]) > 1600


async def test_a_request_that_is_not_full_is_sent_after_half_a_second(
    timed_client, clock, raw_server
):
    started = clock.now
    moments: list[float] = []
    raw_server.on_request = lambda: moments.append(clock.now - started)
    outcomes = await collect(register_rows(timed_client, clock.rows(60, 0.02)))
    assert indexes(outcomes) == list(range(60))
    # Three rows are pulled at a time.
    assert [len(items_sent(request)) for request in raw_server.requests] == [30, 30]
    assert 0.5 <= moments[0] <= 0.8  # a slow machine pulls a few rows more


async def test_the_last_request_is_sent_immediately(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    started = time.monotonic()
    assert len(await collect(register_rows(raw_client, rows(7)))) == 7
    assert time.monotonic() - started < 0.4


async def test_items_of_an_async_source_share_requests(raw_server, raw_client):
    raw_server.answer = in_order(registered)

    async def source():
        for row in rows(30):
            await asyncio.sleep(0.002)
            yield row

    assert len(await collect(register_rows(raw_client, source()))) == 30
    assert len(raw_server.requests) == 1


async def test_requeued_items_do_not_wait_for_a_full_request(raw_server, raw_client):
    raw_server.answer = in_order(registered)
    more = asyncio.Event()

    async def source():
        for row in rows(20):
            yield row
        await more.wait()

    # The first response has only ten outputs, as if the API had stopped there.
    fine = in_order(registered)

    def answer(request):
        items = items_sent(request)
        if len(items) < 20:
            return fine(request)
        return in_order(
            lambda item: (
                registered(item)
                if item["external_identifier"] != "row-10"
                else {"status": "error", "code": "bad_request"}
            )
        )(request)

    raw_server.answer = answer
    stream = register_rows(raw_client, source(), chunk_size=20)
    started = time.monotonic()
    outcomes = [await anext(stream) for _ in range(20)]
    assert time.monotonic() - started < 0.4
    assert states(outcomes) == {"ok": 19, "failed": 1}
    more.set()
    assert await collect(stream) == []


async def test_a_source_is_pulled_only_within_the_window(raw_server, raw_client):
    answered = asyncio.Event()

    async def answer(request):
        await answered.wait()
        return in_order(registered)(request)

    raw_server.answer = answer
    pulled = 0

    def source():
        nonlocal pulled
        for row in rows(500):
            pulled += 1
            yield row

    stream = register_rows(raw_client, source(), chunk_size=10, concurrency=3)
    waiting = asyncio.create_task(anext(stream))
    await until(lambda: len(raw_server.requests) == 2)
    assert pulled == 40
    answered.set()
    assert (await waiting).ok
    assert len(await collect(stream)) == 499


async def test_a_source_whose_iter_raises_ends_the_stream(raw_client):
    class FailingSync:
        def __iter__(self):
            raise ZeroDivisionError("no rows")

    class FailingAsync:
        def __aiter__(self):
            raise ZeroDivisionError("no rows")

    for source in (FailingSync(), FailingAsync()):
        with pytest.raises(ZeroDivisionError, match="no rows"):
            await collect(register_rows(raw_client, source))
