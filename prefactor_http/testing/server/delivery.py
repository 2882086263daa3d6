"""Puts a reply on the socket, or a broken one.

aiohttp's own response writes whole replies only; the others are written to the transport here.
After one of those the connection is closed, so that nothing else can follow it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

from prefactor_http.testing.faults.faults import Fault, FaultKind, FaultReply
from prefactor_http.testing.resources.response import encode
from prefactor_http.testing.server.api import Answer

_JSON = {"Content-Type": "application/json"}
# Linger on, for zero seconds: closing sends RST and drops what was not sent.
_LINGER_ZERO = struct.pack("ii", 1, 0)
_GZIP_WINDOW = 31


def whole(answer: Answer, headers: Mapping[str, str]) -> web.Response:
    """Return a whole reply."""
    return web.Response(status=answer.status, body=answer.body, headers=_head_of(answer, headers))


def error(reply: FaultReply, headers: Mapping[str, str]) -> web.Response:
    """Return the error reply of a fault."""
    return web.Response(status=reply.status, body=reply.body, headers={**headers, **reply.headers})


def altered(answer: Answer, fault: Fault, headers: Mapping[str, str]) -> web.Response:
    """Return a success with the body that the fault makes of it."""
    merged = dict(_head_of(answer, headers))
    body = answer.body
    match fault.kind:
        case FaultKind.INVALID_JSON:
            body = body[:-1] + b",}"
        case FaultKind.JSON_ARRAY:
            body = b"[" + body + b"]"
        case FaultKind.MISSING_DETAILS:
            body = b'{"status":"success"}'
        case FaultKind.OVERSIZED_REPLY:
            body = body[:-1] + b',"padding":"' + b"x" * fault.size + b'"}'
            if fault.compressed:
                packer = zlib.compressobj(wbits=_GZIP_WINDOW)
                body = packer.compress(body) + packer.flush()
                merged["Content-Encoding"] = "gzip"
        case _:
            body = _widened(body, fault.kind)
    return web.Response(status=answer.status, body=body, headers=merged)


def reset(transport: asyncio.Transport) -> None:
    """Cut the connection with RST."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


def half(transport: asyncio.Transport, answer: Answer, headers: Mapping[str, str]) -> None:
    """Send the head and half of the body, of a reply that the connection ends with."""
    head = {**_head_of(answer, headers), "Connection": "close"}
    transport.write(_head(answer.status, answer.body, head))
    transport.write(answer.body[: len(answer.body) // 2])


def other_half(transport: asyncio.Transport, answer: Answer) -> None:
    """Send the half of the body that ``half`` left out, and close."""
    transport.write(answer.body[len(answer.body) // 2 :])
    transport.close()


def close_after(transport: asyncio.Transport, answer: Answer, headers: Mapping[str, str]) -> None:
    """Send the whole reply as if the connection were kept, then close it."""
    transport.write(_head(answer.status, answer.body, _head_of(answer, headers)) + answer.body)
    transport.close()


def truncate(transport: asyncio.Transport, reply: FaultReply, headers: Mapping[str, str]) -> None:
    """Send the head and half of the body of an error reply, then close in good order."""
    transport.write(_head(reply.status, reply.body, {**headers, **reply.headers}))
    transport.write(reply.body[: len(reply.body) // 2])
    transport.close()


def garble(transport: asyncio.Transport) -> None:
    """Send what is not HTTP, then close."""
    transport.write(b"ICY 2OO all is well\r\n\r\n")
    transport.close()


def _head_of(answer: Answer, headers: Mapping[str, str]) -> Mapping[str, str]:
    merged = {**_JSON, **headers}
    if answer.retry_after is not None:
        merged["Retry-After"] = str(answer.retry_after)
    return merged


def _head(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _widened(body: bytes, kind: FaultKind) -> bytes:
    envelope = msgspec.json.decode(body)
    resource = envelope.get("details", envelope)
    if kind is FaultKind.UNKNOWN_STATUS:
        resource["status"] = "hibernating"
    else:
        resource["invented_later"] = {"by": ["the", "API"]}
        envelope["also_invented_later"] = 1
    return encode(envelope)
