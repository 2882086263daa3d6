"""Timeouts of attempts and calls; also interrupts waiting calls when the client closes.

`asyncio.timeout` sets a timer for each block. Here all blocks with the same timeout share one
timer: they expire in the order in which they started, so the timer is set for the oldest one. Most
calls neither set nor cancel a timer.

An expired block is interrupted only after two more iterations of the event loop. After the loop
was blocked, it runs timers before it reads from sockets, so a response may be waiting in a buffer.
In these iterations it is read, and the block ends normally.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto

from msgspec import Struct

_MAX_QUEUES = 16
# Callbacks in a row, each scheduled by the one before. uvloop runs timers, then callbacks, then
# reads from sockets, so the first callback still runs in the iteration of the timer.
_GRACE_CALLBACKS = 3


class CancelReason(Enum):
    """Why a block was interrupted."""

    EXPIRED = auto()
    CLOSING = auto()


class Timeout(Struct, eq=False):
    """One block of a task, between `Timeouts.start` and `Timeouts.stop`."""

    task: asyncio.Task[object]
    seconds: float | None
    expires_at: float
    cancelling: int
    reason: CancelReason | None = None
    is_uncancelled: bool = False

    def interrupt(self, reason: CancelReason) -> None:
        """Cancel the block. Only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.task.cancel()

    def cancel_reason(self) -> CancelReason | None:
        """Return why the block was interrupted. Call it in a handler of CancelledError.

        Returns:
            The reason, or None if the task was also cancelled from outside: then raise again.
        """
        if self.reason is None:
            return None
        self.is_uncancelled = True
        return self.reason if self.task.uncancel() <= self.cancelling else None

    def undo_cancellation(self) -> None:
        """Undo a cancellation that was not delivered because the block ended first."""
        if not self.is_uncancelled:
            self.task.uncancel()


class Timeouts:
    """All blocks of a client, grouped by their timeout in seconds."""

    def __init__(self) -> None:
        self._queues: dict[float | None, dict[Timeout, None]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        self._empty: asyncio.Future[None] | None = None

    def start(self, seconds: float | None) -> Timeout:
        """Start a block of the current task.

        Args:
            seconds: Timeout; None if only closing the client interrupts the block.

        Returns:
            The block. Pass it to `stop` in a ``finally``.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 # a coroutine that awaits runs in a task
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = {}
        if seconds is None:
            timeout = Timeout(task, None, 0.0, task.cancelling())
        else:
            timeout = Timeout(task, seconds, loop.time() + seconds, task.cancelling())
            if seconds not in self._timers:
                self._timers[seconds] = loop.call_at(timeout.expires_at, self._check, seconds, loop)
        queue[timeout] = None
        return timeout

    def stop(self, timeout: Timeout) -> None:
        """End a block."""
        queue = self._queues.get(timeout.seconds)
        if queue is None or timeout not in queue:
            return  # cleared
        del queue[timeout]
        if not queue and timeout.seconds is not None and len(self._queues) > _MAX_QUEUES:
            self._remove_queue(timeout.seconds)
        if timeout.reason is not None:
            timeout.undo_cancellation()
        if self._empty is not None and not self.is_busy and not self._empty.done():
            self._empty.set_result(None)

    def _remove_queue(self, seconds: float) -> None:
        # If each call has its own timeout, queues and timers must not accumulate.
        del self._queues[seconds]
        with suppress(KeyError):  # the timer has just run, and every block had expired
            self._timers.pop(seconds).cancel()

    @property
    def is_busy(self) -> bool:
        return any(self._queues.values())

    def interrupt(self, *, only_unlimited: bool) -> None:
        """Interrupt the blocks because the client closes.

        Args:
            only_unlimited: Only blocks without a timeout: waiting calls, not attempts in flight.
        """
        for seconds, queue in self._queues.items():
            if seconds is None or not only_unlimited:
                for timeout in queue:
                    timeout.interrupt(CancelReason.CLOSING)

    async def wait_until_empty(self, timeout: float) -> None:  # noqa: ASYNC109 # a bound, no error
        """Wait until all blocks have ended, for at most `timeout` seconds."""
        if self.is_busy:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=timeout)

    def cancel_timers(self) -> None:
        """Cancel all timers, so that the event loop has no reference to this client."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def clear(self) -> None:
        """Drop all blocks: their event loop is closed, or runs in another process."""
        self.cancel_timers()
        self._queues.clear()
        self._empty = None

    def _check(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        queue = self._queues[seconds]
        expired: list[Timeout] = []
        for timeout in queue:
            if timeout.expires_at > now:
                self._timers[seconds] = loop.call_at(timeout.expires_at, self._check, seconds, loop)
                break
            expired.append(timeout)
        else:
            # Nothing is left to expire. The next block with this timeout starts a new timer.
            del self._timers[seconds]
            if not queue:
                del self._queues[seconds]
        if expired:
            loop.call_soon(self._expire, expired, _GRACE_CALLBACKS - 1, loop)

    def _expire(
        self, expired: list[Timeout], callbacks_left: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        if callbacks_left:
            loop.call_soon(self._expire, expired, callbacks_left - 1, loop)
            return
        for timeout in expired:
            if timeout in self._queues.get(timeout.seconds, ()):  # it may have ended meanwhile
                timeout.interrupt(CancelReason.EXPIRED)
