"""A server that records raw requests and answers with scripted bytes."""

from __future__ import annotations

import asyncio
import inspect
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """The bytes of a request, and the number of its connection."""

    raw: bytes
    connection: int = 0

    @property
    def method(self) -> str:
        return self.raw.split(b" ", 2)[0].decode()

    @property
    def target(self) -> str:
        return self.raw.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def reply(status: int = 200, body: object = None, **headers: str) -> bytes:
    """Encode a response: a body that is not bytes as JSON, ``_`` in header names as ``-``."""
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    head = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(content)}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + content


@dataclass
class RawServer:
    """Answers each request with the next scripted response, then with the result of `answer`.

    An empty response closes the connection.
    """

    requests: list[Request] = field(default_factory=list)
    replies: deque[bytes] = field(default_factory=deque)
    url: str = ""
    tls: ssl.SSLContext | None = None
    connections: int = 0
    on_request: Callable[[], object] = lambda: None
    answer: Callable[[Request], bytes | Awaitable[bytes]] = lambda _: reply()
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def script(self, *replies: bytes) -> None:
        self.replies.extend(replies)

    @property
    def request(self) -> Request:
        """The only request."""
        (request,) = self.requests
        return request

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http{'s' if self.tls else ''}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        connection = self.connections
        try:
            while True:
                head = Request(await reader.readuntil(b"\r\n\r\n"))
                length = int(head.headers.get("content-length", "0"))
                request = Request(head.raw + await reader.readexactly(length), connection)
                self.requests.append(request)
                self.on_request()
                answer = self.replies.popleft() if self.replies else self.answer(request)
                if inspect.isawaitable(answer):
                    answer = await answer
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        finally:
            self._writers.discard(writer)
            writer.close()
