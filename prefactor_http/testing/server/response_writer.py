"""Writes responses to the socket, including broken ones.

aiohttp's own response class only writes complete responses. Partial and malformed ones are written
to the transport here. The connection is closed afterwards so that nothing can follow them.
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

from prefactor_http.testing.faults.faults import ErrorResponse, Fault, FaultKind
from prefactor_http.testing.resources.response import encode
from prefactor_http.testing.server.api import ApiResponse

_JSON = {"Content-Type": "application/json"}
# SO_LINGER with a timeout of zero: closing sends RST and discards unsent data.
_LINGER_ZERO = struct.pack("ii", 1, 0)
_GZIP_WBITS = 31


def complete(response: ApiResponse, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=response.status, body=response.body, headers=_headers(response, headers)
    )


def error(response: ErrorResponse, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=response.status, body=response.body, headers={**headers, **response.headers}
    )


def altered(response: ApiResponse, fault: Fault, headers: Mapping[str, str]) -> web.Response:
    """Return a success whose body is altered by the fault."""
    merged = dict(_headers(response, headers))
    body = response.body
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
                compressor = zlib.compressobj(wbits=_GZIP_WBITS)
                body = compressor.compress(body) + compressor.flush()
                merged["Content-Encoding"] = "gzip"
        case _:
            body = _with_unknown_values(body, fault.kind)
    return web.Response(status=response.status, body=body, headers=merged)


def reset(transport: asyncio.Transport) -> None:
    """Close the connection with RST."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


def send_first_half(
    transport: asyncio.Transport, response: ApiResponse, headers: Mapping[str, str]
) -> None:
    """Send the head and the first half of the body, with ``Connection: close``."""
    merged = {**_headers(response, headers), "Connection": "close"}
    transport.write(_head(response.status, response.body, merged))
    transport.write(response.body[: len(response.body) // 2])


def send_second_half(transport: asyncio.Transport, response: ApiResponse) -> None:
    """Send the rest of the body after ``send_first_half``, then close the connection."""
    transport.write(response.body[len(response.body) // 2 :])
    transport.close()


def send_and_close(
    transport: asyncio.Transport, response: ApiResponse, headers: Mapping[str, str]
) -> None:
    """Send a complete keep-alive response, then close the connection."""
    head = _head(response.status, response.body, _headers(response, headers))
    transport.write(head + response.body)
    transport.close()


def send_truncated_error(
    transport: asyncio.Transport, response: ErrorResponse, headers: Mapping[str, str]
) -> None:
    """Send the head and half of the body of an error, then close the connection with FIN."""
    transport.write(_head(response.status, response.body, {**headers, **response.headers}))
    transport.write(response.body[: len(response.body) // 2])
    transport.close()


def send_garbage(transport: asyncio.Transport) -> None:
    """Send a line that is not HTTP, then close the connection."""
    transport.write(b"ICY 2OO all is well\r\n\r\n")
    transport.close()


def _headers(response: ApiResponse, headers: Mapping[str, str]) -> Mapping[str, str]:
    merged = {**_JSON, **headers}
    if response.retry_after is not None:
        merged["Retry-After"] = str(response.retry_after)
    return merged


def _head(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _with_unknown_values(body: bytes, kind: FaultKind) -> bytes:
    envelope = msgspec.json.decode(body)
    resource = envelope.get("details", envelope)
    if kind is FaultKind.UNKNOWN_STATUS:
        resource["status"] = "hibernating"
    else:
        resource["invented_later"] = {"by": ["the", "API"]}
        envelope["also_invented_later"] = 1
    return encode(envelope)
