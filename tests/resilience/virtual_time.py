"""An event loop whose time passes only while nothing is to be done, and a server within it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(None if timeout is None else 0)
        if not events and timeout:
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeping takes no time: when only timers are left, it is as late as the next of them."""

    def __init__(self) -> None:
        self._watched = _Selector()
        super().__init__(self._watched)

    def time(self) -> float:
        return self._watched.now


class LoopClock:
    """The clock of the running loop, for a client."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FixedWindows:
    """Admits so many requests in each window; the others may come when the next has begun."""

    def __init__(self, limit: int, window: float = 1.0, retry_after: int = 1) -> None:
        self.limit, self.window, self._retry_after = limit, window, retry_after
        self._number, self._left = -1, 0

    def refuse(self, now: float) -> int | None:
        number = int(now / self.window)
        if number != self._number:
            self._number, self._left = number, self.limit
        self._left -= 1
        return None if self._left >= 0 else self._retry_after


class TokenBucket:
    """Admits so many requests a second, and so many at once after a rest."""

    def __init__(self, rate: float, burst: int, retry_after: int = 1) -> None:
        self._rate, self._burst, self._retry_after = rate, burst, retry_after
        self._tokens, self._then = float(burst), 0.0

    def refuse(self, now: float) -> int | None:
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < 1:
            return self._retry_after
        self._tokens -= 1
        return None


class LimitedServer:
    """Answers `{}`, or 429 when told so.

    Args:
        refuse: Asked with the time for each request: None, or the seconds of `Retry-After`.
        latency: Seconds before a reply is sent.
    """

    def __init__(self, refuse: Callable[[float], int | None], latency: float) -> None:
        self.requests: list[float] = []
        self.refused: list[float] = []
        self._refuse = refuse
        self._latency = latency

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def answer(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.requests.append(now)
        retry_after = self._refuse(now)
        reply = _OK
        if retry_after is not None:
            self.refused.append(now)
            head = f"HTTP/1.1 429 Slow\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n"
            reply = head.encode()
        loop.call_later(self._latency, transport.write, reply)


class _Connection(asyncio.Protocol):
    def __init__(self, server: LimitedServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"GET ")  # whole: a small request over loopback
        self._server.answer(self._transport)
