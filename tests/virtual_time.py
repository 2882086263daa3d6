"""An event loop in virtual time, rate limits, and a server and clients that run on it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import selectors
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from unused_port import unused_port

from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorHttpError

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
INSTANCE = {
    "type": "agent_instance",
    "account_id": "account1",
    "agent_id": "agent1",
    "agent_version_id": "version1",
    "environment_id": "environment1",
    "status": "pending",
    "inserted_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}


Answer = Callable[[float, str, str], bytes | None]


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(None if timeout is None else 0)
        if not events and timeout:
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeping takes no real time: if only timers are left, time jumps to the next one."""

    def __init__(self) -> None:
        self._virtual_selector = _Selector()
        super().__init__(self._virtual_selector)

    def time(self) -> float:
        return self._virtual_selector.now


def in_virtual_time(scenario: Awaitable[Any]) -> Any:
    random.seed(20)  # the client's jitter
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)  # type: ignore[arg-type] # a coroutine


class LoopClock:
    """A client clock that returns the time of the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def response(status: int, body: bytes = b"{}", **headers: object) -> bytes:
    """Encode a response. ``_`` in header names becomes ``-``; headers that are None are omitted."""
    lines = [f"HTTP/1.1 {status} Virtual", f"Content-Length: {len(body)}"]
    lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items() if v is not None]
    return "\r\n".join([*lines, "", ""]).encode() + body


def rejection(retry_after: object = 1, status: int = 429) -> bytes:
    return response(status, Retry_After=retry_after)


def success(path: str, number: int) -> bytes:
    """Encode the response to a register, or to an action on the instance in the path."""
    resource = re.fullmatch(r"/api/v1/agent_instance/(\w+)/(start|finish)", path)
    if resource is None:
        return _encoded_success(f"i{number}", "pending")
    return _encoded_success(resource[1], {"start": "active", "finish": "complete"}[resource[2]])


def _encoded_success(id_: str, status: str) -> bytes:
    details = {**INSTANCE, "id": id_, "status": status}
    return response(200, json.dumps({"status": "success", "details": details}).encode())


class FixedWindows:
    """Admits `limit` requests per window and rejects the others until the next window."""

    def __init__(self, limit: int, window: float = 1.0, retry_after: object = 1) -> None:
        self.limit, self.window, self._retry_after = limit, window, retry_after
        self._number, self._left = -1, 0

    def refuse(self, now: float) -> bytes | None:
        number = int(now / self.window)
        if number != self._number:
            self._number, self._left = number, self.limit
        self._left -= 1
        return None if self._left >= 0 else rejection(self._retry_after)


class SlidingWindow:
    """Admits `limit` requests in any second."""

    def __init__(self, limit: int) -> None:
        self._admitted: deque[float] = deque(maxlen=limit)
        self._limit = limit

    def refuse(self, now: float) -> bytes | None:
        if len(self._admitted) == self._limit and self._admitted[0] > now - 1:
            return rejection()
        self._admitted.append(now)
        return None


class TokenBucket:
    """Admits `rate` requests per second, and `burst` at once after an idle time."""

    def __init__(self, rate: float, burst: int, retry_after: object = 1) -> None:
        self._rate, self._burst, self._retry_after = rate, burst, retry_after
        self._tokens, self._then = float(burst), 0.0

    def refuse(self, now: float) -> bytes | None:
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < 1:
            return rejection(self._retry_after)
        self._tokens -= 1
        return None


class RandomRejections:
    """Rejects a share of the requests at random."""

    def __init__(self, share: float, retry_after: object = 1, status: int = 429) -> None:
        self._share = share
        self._rejection = rejection(retry_after, status)
        self._random = random.Random(20)

    def refuse(self, _: float) -> bytes | None:
        return self._rejection if self._random.random() < self._share else None


def refusing(*spans: tuple[float, float], retry_after: object = 1) -> Callable[[float], Any]:
    """Reject all requests in the given time spans."""
    refused = rejection(retry_after)
    return lambda now: refused if any(start <= now < end for start, end in spans) else None


class VirtualServer:
    """Answers requests with a success, unless `answer` returns another response.

    Args:
        answer: Called with the time, the path and the body of each request. Returns the response,
            `RESET` to reset the connection, or None for a success.
        latency: Seconds before a response is sent.
    """

    RESET = b"reset"

    def __init__(self, answer: Answer, latency: float = 0.001) -> None:
        self.requests: list[float] = []
        self.paths: Counter[str] = Counter()
        self.refused: list[float] = []
        self._answer = answer
        self.latency = latency
        self._connections: set[asyncio.Transport] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections),
            "127.0.0.1",
            port or unused_port(),
            backlog=4096,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Refuse new connections and reset open ones."""
        self._server.close()
        for transport in self._connections:
            transport.abort()

    def respond(self, path: str, body: str, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.requests.append(now)
        self.paths[path] += 1
        answer = self._answer(now, path, body)
        if answer is None:
            answer = success(path, len(self.requests))
        else:
            self.refused.append(now)
        if answer is self.RESET:
            loop.call_later(self.latency, transport.abort)
        else:
            loop.call_later(self.latency, transport.write, answer)


class _Connection(asyncio.Protocol):
    def __init__(self, server: VirtualServer, connections: set[asyncio.Transport]) -> None:
        self._server = server
        self._connections = connections
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._connections.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if len(body) == (int(length[1]) if length else 0):
            self._received = b""
            path = head.split(b" ", 2)[1].decode()
            self._server.respond(path, body.decode(), self._transport)


@asynccontextmanager
async def serving(
    answer: Answer, *, latency: float = 0.001, **config: Any
) -> AsyncIterator[tuple[VirtualServer, PrefactorHttpClient]]:
    """Run a server and its client."""
    async with VirtualServer(answer, latency) as server:
        settings = HttpClientConfig(server.url, "a-token", **config)
        async with PrefactorHttpClient(settings, clock=LoopClock()) as client:
            yield server, client


@asynccontextmanager
async def limited(
    refuse: Callable[[float], bytes | None], *, latency: float = 0.001, **config: Any
) -> AsyncIterator[tuple[VirtualServer, PrefactorHttpClient]]:
    """Run a server that rejects requests by `refuse`, and its client."""
    async with serving(lambda now, *_: refuse(now), latency=latency, **config) as pair:
        yield pair


async def call(client: PrefactorHttpClient) -> Any:
    return await client.request("GET", "/anything")


async def register(client: PrefactorHttpClient, **fields: Any) -> Any:
    return await client.agent_instances.register(
        "agent1", VERSION, SCHEMA, environment_id="environment1", **fields
    )


async def work_off(
    client: PrefactorHttpClient, rows: int, callers: int, make_call: Any = call
) -> float:
    """Make `rows` calls, `callers` at a time, and return the duration in seconds."""
    left = iter(range(rows))

    async def caller() -> None:
        for _ in left:
            await make_call(client)

    started = asyncio.get_running_loop().time()
    await asyncio.gather(*[caller() for _ in range(callers)])
    return asyncio.get_running_loop().time() - started


async def errors_of(calls: Any) -> list[PrefactorHttpError]:
    """Run calls that all fail and return their errors."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, PrefactorHttpError) for result in results)
    return results
