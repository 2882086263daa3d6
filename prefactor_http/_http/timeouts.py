"""Interrupts what takes too long: attempts, whole calls, and the waits of a client that closes.

`asyncio.timeout` does this for one block, at the price of a timer each. Here all blocks of one
length share a timer: they expire in the order in which they began, so the oldest tells when to
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

_MOST_LENGTHS = 16
# Callbacks in a row, each scheduled by the one before. uvloop calls timers before it reads from
# sockets, and callbacks in between, so that the first of them is still in the same iteration.
_GRACE_CALLBACKS = 3


class CancelReason(Enum):
    """Why a watched block was interrupted."""

    EXPIRED = auto()
    CLOSING = auto()


class Timeout(Struct, eq=False):
    """One watched block of one task; `Timeouts.begin` makes it, `Timeouts.end` ends it."""

    task: asyncio.Task[object]
    length: float | None
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

    def settle(self) -> None:
        """Take back a cancellation that never arrived, because the block ended first."""
        if not self.is_uncancelled:
            self.task.uncancel()


class Timeouts:
    """All watched blocks of a client, by length; those without a length end only by closing."""

    def __init__(self) -> None:
        self._queues: dict[float | None, dict[Timeout, None]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        self._empty: asyncio.Future[None] | None = None

    def begin(self, length: float | None) -> Timeout:
        """Watch the current task from here on.

        Args:
            length: Seconds until it is interrupted; None for never.

        Returns:
            The watch, to be ended in a ``finally``.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 # a coroutine that awaits runs in a task
        queue = self._queues.get(length)
        if queue is None:
            queue = self._queues[length] = {}
        if length is None:
            timeout = Timeout(task, None, 0.0, task.cancelling())
        else:
            timeout = Timeout(task, length, loop.time() + length, task.cancelling())
            if length not in self._timers:
                self._timers[length] = loop.call_at(timeout.expires_at, self._look, length, loop)
        queue[timeout] = None
        return timeout

    def end(self, timeout: Timeout) -> None:
        """Stop watching."""
        queue = self._queues.get(timeout.length)
        if queue is None or timeout not in queue:
            return  # forgotten
        del queue[timeout]
        if not queue and timeout.length is not None and len(self._queues) > _MOST_LENGTHS:
            self._forget(timeout.length)
        if timeout.reason is not None:
            timeout.settle()
        if self._empty is not None and not self.is_busy and not self._empty.done():
            self._empty.set_result(None)

    def _forget(self, length: float) -> None:
        # Lengths are few, unless each call brings its own: then their timers must not pile up.
        del self._queues[length]
        with suppress(KeyError):  # it has just looked, and found only what it interrupted
            self._timers.pop(length).cancel()

    @property
    def is_busy(self) -> bool:
        """Whether any block is being watched."""
        return any(self._queues.values())

    def interrupt(self, *, only_endless: bool) -> None:
        """Interrupt the blocks because the client closes.

        Args:
            only_endless: Only those without a length: calls that wait, not attempts in flight.
        """
        for length, queue in self._queues.items():
            if length is None or not only_endless:
                for timeout in queue:
                    timeout.interrupt(CancelReason.CLOSING)

    async def wait_until_empty(self, timeout: float) -> None:  # noqa: ASYNC109 # a bound, no error
        """Wait until nothing is watched any more, or so many seconds."""
        if self.is_busy:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=timeout)

    def stop(self) -> None:
        """Drop the timers, so that the event loop holds nothing of this client."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def forget(self) -> None:
        """Drop all blocks: their event loop has ended, or runs in another process."""
        self.stop()
        self._queues.clear()
        self._empty = None

    def _look(self, length: float, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        queue = self._queues[length]
        expired: list[Timeout] = []
        for timeout in queue:
            if timeout.expires_at > now:
                self._timers[length] = loop.call_at(timeout.expires_at, self._look, length, loop)
                break
            expired.append(timeout)
        else:
            # Nothing is left to expire: the next block of this length starts a timer of its own.
            del self._timers[length]
            if not queue:
                del self._queues[length]
        if expired:
            loop.call_soon(self._expire, expired, _GRACE_CALLBACKS - 1, loop)

    def _expire(
        self, expired: list[Timeout], callbacks_left: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        if callbacks_left:
            loop.call_soon(self._expire, expired, callbacks_left - 1, loop)
            return
        for timeout in expired:
            if timeout in self._queues.get(timeout.length, ()):  # or it has ended meanwhile
                timeout.interrupt(CancelReason.EXPIRED)
