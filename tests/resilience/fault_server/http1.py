"""Minimal HTTP/1.1 on asyncio streams, without validation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Head:
    """Request line and headers."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def content_length(self) -> int:
        return int(self.headers.get("content-length", "0"))


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read the request line and headers.

    Raises:
        asyncio.IncompleteReadError: The client closed the connection.
    """
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = text.split("\r\n")
    method, target, _ = line.split(" ", 2)
    parts = urlsplit(target)
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
    return Head(method, unquote(parts.path), dict(parse_qsl(parts.query)), headers)


def response(status: int, body: object = b"", **headers: object) -> bytes:
    """Encode a response. A body that is not bytes is encoded as JSON.

    ``_`` in header names becomes ``-``. Headers that are None are omitted.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content_type": "application/json", "content_length": len(content), **headers}
    lines = [f"HTTP/1.1 {status} Answer"]
    lines += [f"{n.replace('_', '-')}: {v}" for n, v in fields.items() if v is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def decode(body: bytes) -> Any:
    """Decode a JSON body; None if it is invalid."""
    try:
        return json.loads(body) if body else {}
    except ValueError:
        return None


def bound_socket(port: int) -> socket.socket:
    """Bind a port, and keep it while nothing listens: a connecting socket could get the number."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class FullBacklog:
    """A listening socket whose queue of connections is full, so that connecting takes forever."""

    def __init__(self, port: int) -> None:
        listening = bound_socket(port)
        listening.listen(0)
        self._sockets = [listening]
        for _ in range(2):  # Linux queues one more than the backlog
            connecting = socket.socket()
            connecting.setblocking(False)
            connecting.connect_ex(("127.0.0.1", port))
            self._sockets.append(connecting)

    def close(self) -> None:
        """Reset what was queued."""
        for each in self._sockets:
            each.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with a RST instead of a FIN."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:  # None, or an OSError: it is already closed
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
