"""Interrupts what takes too long: attempts, whole calls, and the waits of a client that closes.

`asyncio.timeout` does this for one block, at the price of a timer each. Here all blocks of one
seconds share a timer: they expire in the order in which they began, so the oldest tells when to
look again. A block costs about a microsecond, whether or not anything ever expires.

A block that has expired is interrupted only after the event loop has run two more iterations. If
the loop was blocked, it calls this module first, although the response may lie in the socket's
buffer: in these iterations it is read, and the block ends by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto

from msgspec import Struct

_MAX_QUEUES = 16
# Callbacks in a row, each scheduled by the one before. uvloop calls timers before it reads from
# sockets, and callbacks in between, so that the first of them is still in the same iteration.
_GRACE_CALLBACKS = 3


class CancelReason(Enum):
    """Why a watched block was interrupted."""

    EXPIRED = auto()
    CLOSING = auto()


class Timeout(Struct, eq=False):
    """One watched block of one task; `Timeouts.start` makes it, `Timeouts.stop` ends it."""

    task: asyncio.Task[object]
    seconds: float | None
    expires_at: float
    cancelling: int
    reason: CancelReason | None = None
    is_uncancelled: bool = False

    def interrupt(self, reason: CancelReason) -> None:
        """Cancel the block; the first cause counts."""
        if self.reason is None:
            self.reason = reason
            self.task.cancel()

    def cancel_reason(self) -> CancelReason | None:
        """Tell, in a handler of CancelledError, whether it is this watch's doing.

        Returns:
            The cause, or None when somebody else cancelled the task (too): then it must go on.
        """
        if self.reason is None:
            return None
        self.is_uncancelled = True
        return self.reason if self.task.uncancel() <= self.cancelling else None

    def undo_cancellation(self) -> None:
        """Take back a cancellation that never arrived, because the block ended first."""
        if not self.is_uncancelled:
            self.task.uncancel()


class Timeouts:
    """All watched blocks of a client, by seconds; those without a seconds end only by closing."""

    def __init__(self) -> None:
        self._queues: dict[float | None, dict[Timeout, None]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        self._empty: asyncio.Future[None] | None = None

    def start(self, seconds: float | None) -> Timeout:
        """Watch the current task from here on.

        Args:
            seconds: Seconds until it is interrupted; None for never.

        Returns:
            The watch, to be ended in a ``finally``.
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
        """Stop watching."""
        queue = self._queues.get(timeout.seconds)
        if queue is None or timeout not in queue:
            return  # forgotten
        del queue[timeout]
        if not queue and timeout.seconds is not None and len(self._queues) > _MAX_QUEUES:
            self._remove_queue(timeout.seconds)
        if timeout.reason is not None:
            timeout.undo_cancellation()
        if self._empty is not None and not self.is_busy and not self._empty.done():
            self._empty.set_result(None)

    def _remove_queue(self, seconds: float) -> None:
        # Lengths are few, unless each call brings its own: then their timers must not pile up.
        del self._queues[seconds]
        with suppress(KeyError):  # it has just looked, and found only what it interrupted
            self._timers.pop(seconds).cancel()

    @property
    def is_busy(self) -> bool:
        """Whether any block is being watched."""
        return any(self._queues.values())

    def interrupt(self, *, only_unlimited: bool) -> None:
        """Interrupt the blocks because the client closes.

        Args:
            only_unlimited: Only those without a seconds: calls that wait, not attempts in flight.
        """
        for seconds, queue in self._queues.items():
            if seconds is None or not only_unlimited:
                for timeout in queue:
                    timeout.interrupt(CancelReason.CLOSING)

    async def wait_until_empty(self, timeout: float) -> None:  # noqa: ASYNC109 # a bound, no error
        """Wait until nothing is watched any more, or so many seconds."""
        if self.is_busy:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=timeout)

    def cancel_timers(self) -> None:
        """Drop the timers, so that the event loop holds nothing of this client."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def clear(self) -> None:
        """Drop all blocks: their event loop has ended, or runs in another process."""
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
            # Nothing is left to expire: the next block of this seconds starts a timer of its own.
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
            if timeout in self._queues.get(timeout.seconds, ()):  # or it has ended meanwhile
                timeout.interrupt(CancelReason.EXPIRED)
