"""Waits that end early when the server stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Delays:
    """Lets requests wait until the time is over or the server stops."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def allow(self) -> None:
        """Let requests wait, also after ``end``."""
        self._stopping.clear()

    def end(self) -> None:
        """End all waits, and let no request wait any more."""
        self._stopping.set()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
