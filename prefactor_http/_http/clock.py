"""Time, as far as the client's behaviour depends on it: passed in, so that a test can own it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a client takes the time from, and where it waits."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def utcnow(self) -> datetime:
        """Give the current moment, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)

    def utcnow(self) -> datetime:
        """Give the current moment, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        await asyncio.sleep(seconds)
