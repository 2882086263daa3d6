"""Tasks that go on after the call that started them, until the client is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """The tasks of a client. Each limits its own duration and handles its own errors."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, timeout: float) -> float:  # noqa: ASYNC109 # cancels the tasks, not the caller
        """Wait for the tasks, and cancel those that take longer than ``timeout`` seconds.

        Returns:
            How much of the timeout is left.
        """
        if not self._tasks:
            return timeout
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        tasks = tuple(self._tasks)
        try:
            await asyncio.wait(tasks, timeout=timeout)
        finally:
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)
        return max(0.0, end - loop.time())

    def forget(self) -> None:
        """Drop the tasks of an event loop that has ended, or of the parent process."""
        self._tasks.clear()
