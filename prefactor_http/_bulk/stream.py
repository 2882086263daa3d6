"""Front end of the engine: a source of any length in, an async iterator of outcomes out.

The iterator is a class, because an async generator is finished once a task that waits for its next
item is cancelled, for example by ``asyncio.wait_for(anext(stream), 1)``. Here the requests belong
to the stream, not to that task, and the next call continues to wait for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

from prefactor_http._bulk.engine import BatchEngine
from prefactor_http._bulk.operation import BatchOperation
from prefactor_http._bulk.options import BatchOptions
from prefactor_http._bulk.outcome import Outcome
from prefactor_http._bulk.source import MAX_PULL_SECONDS, Source
from prefactor_http._http.clock import Clock
from prefactor_http._http.executor import Executor

# Pause between two pulls of a slow plain source, so that other tasks can run.
_YIELD_SECONDS = 0.001
# Streams that are closed in the background: the event loop keeps only weak references to tasks.
_closing: set[asyncio.Task[None]] = set()


class OutcomeBuffer:
    """Holds outcomes until they are read.

    Args:
        ordered: Whether they are read in the order of the source.

    Attributes:
        ready: Outcomes that can be read.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ready: deque[Outcome] = deque()
        self._ordered = ordered
        self._early: dict[int, Outcome] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self.ready) + len(self._early)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        if not self._ordered:
            self.ready.extend(outcomes)
            return
        for outcome in outcomes:
            self._early[outcome.index] = outcome
        while (ready := self._early.pop(self._next, None)) is not None:
            self.ready.append(ready)
            self._next += 1


class OutcomeStream(AsyncGenerator[Outcome, None]):
    """Iterates over the outcomes of a batch, once.

    It has the methods of an async generator, and can be used with ``async for`` and
    `contextlib.aclosing`. One difference: the stream continues when a task that waits for the next
    outcome is cancelled. Call ``anext`` again.

    Args:
        executor: Sends the requests.
        source: The items.
        options: Bounds of the batch.
        operation: The bulk request.
    """

    def __init__(
        self, executor: Executor, source: Source, options: BatchOptions, operation: BatchOperation
    ) -> None:
        self._buffer = OutcomeBuffer(ordered=options.ordered)
        self._ready = self._buffer.ready
        self._engine = BatchEngine(executor, operation, options, self._buffer.add)
        self._source = source
        self._clock = executor.clock
        self._chunk_size = options.chunk_size
        self._window = (options.concurrency + 1) * options.chunk_size
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Task[None] | None = None
        self._timer_ends_at = 0.0
        self._is_waiting = self._is_closed = False

    async def __anext__(self) -> Outcome:
        if not self._ready:
            await self._wait_until_ready()
        return self._ready.popleft()

    async def asend(self, value: None) -> Outcome:  # noqa: ARG002 # of the protocol
        """Return the next outcome, as ``anext`` does."""
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,  # noqa: ARG002 # of the protocol
        tb: TracebackType | None = None,  # noqa: ARG002 # of the protocol
        /,
    ) -> Outcome:
        """Close the stream and raise the exception."""
        await self.aclose()
        raise typ

    async def aclose(self) -> None:
        """Stop sending, wait for requests in flight for a limited time, and close the source.

        Safe to call more than once.
        """
        if not self._is_closed:
            self._is_closed = True
            # Outcomes of the requests in flight are discarded.
            self._ready = deque[Outcome]()
            await _close(self._engine, self._source, self._timer)

    def __del__(self) -> None:
        loop = self._loop
        if loop is not None and not self._is_closed and not loop.is_closed():
            with suppress(RuntimeError):  # another thread has just closed the loop
                loop.call_soon_threadsafe(
                    _close_in_background, self._engine, self._source, self._timer
                )

    async def _wait_until_ready(self) -> None:
        if self._is_waiting:
            raise RuntimeError("another task is already waiting for the next outcome")
        self._is_waiting = True
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                if self._ready:
                    return
                if self._is_closed:
                    raise StopAsyncIteration
                if self._is_over:
                    await self._finish()
                await self._step()
        finally:
            self._is_waiting = False

    @property
    def _is_over(self) -> bool:
        engine = self._engine
        if engine.fatal_error is not None:
            return not engine.tasks
        return self._source.has_ended and not engine.pending

    async def _finish(self) -> None:
        await _close(self._engine, self._source, self._timer)
        self._is_closed = True
        if self._engine.fatal_error is not None:
            raise self._engine.fatal_error
        self._source.raise_error()
        raise StopAsyncIteration

    async def _step(self) -> None:
        """Pull and send items, then wait for an event."""
        engine = self._engine
        try:
            if engine.fatal_error is None:
                self._pull()
                engine.advance(flush=self._source.has_ended or self._room <= 0)
            if self._ready or self._is_over:
                await asyncio.sleep(0)  # a source of invalid rows alone never waits otherwise
                return
            await self._wait()
            engine.process_completed()
        except Exception as exc:  # noqa: BLE001 # each item gets an outcome, whatever happens
            engine.fail(exc)

    @property
    def _room(self) -> int:
        return self._window - self._engine.pending - len(self._buffer)

    def _pull(self) -> None:
        until = self._clock.monotonic() + MAX_PULL_SECONDS
        while self._engine.accepts_items and self._room > 0:
            items = self._source.pull(min(self._room, self._chunk_size), until)
            if not items:
                return
            self._engine.add(items)
            self._engine.advance(flush=False)
            if self._clock.monotonic() >= until:
                return

    async def _wait(self) -> None:
        engine, source = self._engine, self._source
        futures: list[asyncio.Future[Any]] = [*engine.tasks]
        may_pull = engine.accepts_items and self._room > 0 and not source.has_ended
        if may_pull and not source.is_async:
            if futures:
                await asyncio.wait(
                    futures, timeout=_YIELD_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            else:
                await asyncio.sleep(_YIELD_SECONDS)
            return
        if may_pull:
            futures += source.pending
        wakeup_time = engine.wakeup_time(flush=source.has_ended or self._room <= 0)
        if wakeup_time is not None:
            futures.append(self._timer_until(wakeup_time))
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if self._timer is not None and self._timer.done():
            timer, self._timer = self._timer, None
            timer.result()

    def _timer_until(self, ends_at: float) -> asyncio.Task[None]:
        if self._timer is not None and self._timer_ends_at != ends_at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            seconds = max(0.0, ends_at - self._clock.monotonic())
            self._timer = asyncio.create_task(_sleep(self._clock, seconds))
            self._timer_ends_at = ends_at
        return self._timer


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)


async def _close(engine: BatchEngine, source: Source, timer: asyncio.Task[None] | None) -> None:
    source.stop()
    if timer is not None:
        timer.cancel()
    try:
        await engine.close()
    finally:
        if timer is not None:
            await asyncio.gather(timer, return_exceptions=True)
        await source.close()


def _close_in_background(
    engine: BatchEngine, source: Source, timer: asyncio.Task[None] | None
) -> None:
    task = asyncio.create_task(_close(engine, source, timer))
    _closing.add(task)
    task.add_done_callback(_closing.discard)
