"""The benchmark server: a minimal HTTP protocol in a separate process, never the bottleneck.

`python -m benchmarks.server` prints its port as a line of JSON and serves until stdin is closed.
`GET /_stats` returns the counters and the CPU time used; `GET /_reset` resets them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import sys
import time
from collections.abc import Callable
from typing import Protocol, cast

from msgspec import Struct

from benchmarks import responses
from benchmarks.applications import Canned, ConnectionAction, EveryOtherUnavailable, Response
from benchmarks.faults import FaultyApi
from benchmarks.rate_limit import RateLimited

OK = "200 OK"


class Application(Protocol):
    """Handles requests."""

    def respond(self, path: bytes, body: bytes) -> Response | bytes:
        """Return a whole response, or a `Response` that says how to send it."""
        ...

    def stats(self) -> dict[str, object]:
        """Return the counters."""
        ...


class Options(Struct, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        delay: Seconds before each response to a register, alone or in bulk.
        service_time: Seconds of work on each register; bulk items are worked on one after another.
        fault_rate: Fraction of attempts that fail, 0 to 1; None for a server without a ledger.
        seed: Seed of the faults.
        busy: Whether every other request gets a 503.
        rate: Requests admitted per second; 0 for no limit.
        retry_after: Seconds in the ``Retry-After`` of injected 503 and 429 responses.
        certificate: File with a certificate and its key; enables TLS.
    """

    delay: float = 0.0
    service_time: float = 0.0
    fault_rate: float | None = None
    seed: int = 1
    busy: bool = False
    rate: int = 0
    retry_after: int = 0
    certificate: str | None = None

    def application(self) -> Application:
        if self.fault_rate is not None:
            return FaultyApi(self.fault_rate, self.seed, self.retry_after)
        canned = Canned(self.delay, self.service_time)
        if self.busy:
            return EveryOtherUnavailable(canned)
        return RateLimited(canned, self.rate) if self.rate else canned


class Service:
    """The application and its cost since the last reset."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.reset()

    def reset(self) -> None:
        self.application = self._options.application()
        self.requests = 0
        self._cpu = time.process_time()

    def control(self, path: bytes) -> bytes:
        """Respond to `/_stats` and `/_reset`."""
        if path == b"/_reset":
            self.reset()
        cpu = time.process_time() - self._cpu
        stats = {"requests": self.requests, "cpu": cpu, **self.application.stats()}
        return responses.http(OK, json.dumps(stats).encode())


class Connection(asyncio.Protocol):
    """Supports the part of HTTP/1.1 that the contenders use: requests with `Content-Length`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parts: list[bytes] = []
        self._received = 0
        self._expected = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received < self._expected:  # avoids joining an incomplete body for each chunk
            self._parts.append(data)
            return
        if self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
            self._parts = []
        while data:
            body_at = data.find(b"\r\n\r\n") + 4
            if body_at < 4:
                break
            end = body_at + _content_length(data, body_at)
            if len(data) < end:
                self._expected = end
                break
            self._respond(data.split(b" ", 2)[1], data[body_at:end])
            data = data[end:]
            self._expected = 0
        self._received = len(data)
        if data:
            self._parts.append(data)

    def _respond(self, path: bytes, body: bytes) -> None:
        service = self._service
        if path.startswith(b"/_"):
            self._transport.write(service.control(path))
            return
        service.requests += 1
        response = service.application.respond(path, body)
        if isinstance(response, bytes):
            self._transport.write(response)
        elif response.delay:
            asyncio.get_running_loop().call_later(response.delay, self._send, response)
        else:
            self._send(response)

    def _send(self, response: Response) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(response.data)
        if response.then is ConnectionAction.CLOSE:
            self._transport.close()
        elif response.then is ConnectionAction.RESET:
            self._transport.abort()


def _content_length(data: bytes, head_end: int) -> int:
    at = data.find(b"Content-Length: ", 0, head_end)
    if at < 0:
        if data.find(b"Transfer-Encoding", 0, head_end) >= 0:
            raise NotImplementedError("the benchmark server requires Content-Length")
        return 0
    return int(data[at + 16 : data.index(b"\r", at)])


async def _serve(options: Options) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Each connection needs a file descriptor.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    service = Service(options)
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    server = await loop.create_server(
        lambda: Connection(service), "127.0.0.1", 0, ssl=context, backlog=4096
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def _fastest_loop() -> str:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return "asyncio"
    return "uvloop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", nargs="?", default="{}", help="Options, as JSON")
    options = Options(**json.loads(parser.parse_args().options))
    with asyncio.Runner(loop_factory=loop_factory(_fastest_loop())) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    main()
