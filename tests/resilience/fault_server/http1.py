"""HTTP/1.1 on asyncio streams: requests are read, bytes are written, nothing is checked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Head:
    """A request's line and headers."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def content_length(self) -> int:
        return int(self.headers.get("content-length", "0"))


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read up to the empty line.

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
    """Write a response: bytes as they are, anything else as JSON; a header's ``_`` becomes ``-``.

    A header that is None is left out.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content_type": "application/json", "content_length": len(content), **headers}
    lines = [f"HTTP/1.1 {status} Answer"]
    lines += [f"{n.replace('_', '-')}: {v}" for n, v in fields.items() if v is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def decode(body: bytes) -> Any:
    """Read a JSON body; None where it is none."""
    try:
        return json.loads(body) if body else {}
    except ValueError:
        return None


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a RST instead of a FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # already closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()
