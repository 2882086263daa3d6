"""A small HTTP proxy, and a server that decrypts TLS in front of another one."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

from raw_server import Request, reply


class HttpProxy:
    """A proxy for CONNECT and absolute-form requests, which can require credentials.

    Attributes:
        requests: What the proxy received, up to the tunnels' contents.
        authorization: The required value of ``Proxy-Authorization``, or None.
    """

    def __init__(self, authorization: str | None = None) -> None:
        self.requests: list[Request] = []
        self.authorization = authorization
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = Request(await reader.readuntil(b"\r\n\r\n"))
        body = await reader.readexactly(int(head.headers.get("content-length", "0")))
        request = Request(head.raw + body)
        self.requests.append(request)
        if request.headers.get("proxy-authorization") != self.authorization:
            writer.write(reply(407, b"who are you?", Connection="close"))
        elif request.method == "CONNECT":
            host, _, port = request.target.rpartition(":")
            upstream = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await join((reader, writer), upstream)
        else:
            url = urlsplit(request.target)
            upstream = await asyncio.open_connection(url.hostname, url.port)
            upstream[1].write(self._forwarded(request))
            await copy(upstream[0], writer)
            upstream[1].close()

    def _forwarded(self, request: Request) -> bytes:
        head, _, body = request.raw.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        method, target, version = line.split(b" ")
        path = urlsplit(target.decode())._replace(scheme="", netloc="").geturl().encode()
        fields = [f for f in fields if not f.lower().startswith(b"proxy-")]
        lines = [b" ".join([method, path, version]), *fields, b"Connection: close"]
        return b"\r\n".join([*lines, b"", body])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.close()


async def join(one, other) -> None:
    await asyncio.gather(copy(one[0], other[1]), copy(other[0], one[1]))


@asynccontextmanager
async def listening(serve, tls: ssl.SSLContext | None = None):
    """Serve connections, and give host and port."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed the connection
        finally:
            tasks.discard(asyncio.current_task())
            writer.close()

    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        stack.callback(server.close)
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if tasks:
        await asyncio.wait(tasks, timeout=5)


def decrypting(url: str):
    """Return a connection handler that passes the decrypted bytes on to another server."""
    address = urlsplit(url)

    async def serve(reader, writer):
        upstream = await asyncio.open_connection(address.hostname, address.port)
        await join((reader, writer), upstream)

    return serve
