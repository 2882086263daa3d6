"""Semaphore that limits the attempts in flight."""

from __future__ import annotations

import asyncio
from collections import deque


class Semaphore:
    """Grants slots in the order of requests.

    `asyncio.Semaphore` does the same, but even a free slot has to be awaited. `acquire_nowait`
    takes a free slot without creating a coroutine.

    Args:
        slots: Number of slots.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiters: deque[asyncio.Future[None]] = deque()

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free, and return whether it was.

        A task that waits is never overtaken: no slot is free while one waits.
        """
        if self._free:
            self._free -= 1
            return True
        return False

    async def acquire(self) -> None:
        if self.acquire_nowait():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the slot was handed over just before this task was cancelled
            raise

    def release(self) -> None:
        """Hand the slot to the first waiting task, or make it free."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
