"""The server of the benchmarks: a bare protocol in a process of its own, never the bottleneck.

`python -m benchmarks.server` prints its port as a line of JSON and serves until its stdin ends.
`GET /_stats` tells what it has done and what it has cost; `POST /_reset` starts anew.
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

from benchmarks import replies
from benchmarks.applications import Answer, BusyEveryOtherTime, Canned, End
from benchmarks.faults import Faulty
from benchmarks.rate_limit import RateLimited

OK = "200 OK"


class Application(Protocol):
    """Answers requests; what is behind the protocol."""

    def respond(self, path: bytes, body: bytes) -> Answer | bytes:
        """Answer a request: with a whole response, or with how it is to be sent."""
        ...

    def stats(self) -> dict[str, object]:
        """Tell what was counted."""
        ...


class Options(Struct, frozen=True, kw_only=True):
    """What the server does beyond answering.

    Attributes:
        delay: Seconds before each reply to a register.
        fault_rate: Share of attempts that go wrong; writes are then accounted for.
        seed: For the faults.
        busy: Whether every other request is refused with a 503.
        rate: Requests admitted per second, 0 for all.
        retry_after: Seconds in ``Retry-After`` of a 503 or 429 among the faults.
        certificate: File with a certificate and its key, to speak TLS.
    """

    delay: float = 0.0
    fault_rate: float | None = None
    seed: int = 1
    busy: bool = False
    rate: int = 0
    retry_after: int = 0
    certificate: str | None = None

    def application(self) -> Application:
        """Make the application for these options."""
        if self.fault_rate is not None:
            return Faulty(self.fault_rate, self.seed, self.retry_after)
        canned = Canned(self.delay)
        if self.busy:
            return BusyEveryOtherTime(canned)
        return RateLimited(canned, self.rate) if self.rate else canned


class Service:
    """The application and what it cost since the last reset."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.application = self._options.application()
        self.requests = 0
        self._cpu = time.process_time()

    def control(self, path: bytes) -> bytes:
        """Answer a request about the server itself."""
        if path == b"/_reset":
            self.reset()
        cpu = time.process_time() - self._cpu
        stats = {"requests": self.requests, "cpu": cpu, **self.application.stats()}
        return replies.http(OK, json.dumps(stats).encode())


class Connection(asyncio.Protocol):
    """Speaks as much HTTP/1.1 as the contenders do: requests with a length, one after another."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._have += len(data)
        if self._have < self._need:  # a large body still on its way is not joined for each piece
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
                self._need = end
                break
            self._answer(data.split(b" ", 2)[1], data[body_at:end])
            data = data[end:]
            self._need = 0
        self._have = len(data)
        if data:
            self._parts.append(data)

    def _answer(self, path: bytes, body: bytes) -> None:
        service = self._service
        if path.startswith(b"/_"):
            self._transport.write(service.control(path))
            return
        service.requests += 1
        answer = service.application.respond(path, body)
        if isinstance(answer, bytes):
            self._transport.write(answer)
        elif answer.delay:
            asyncio.get_running_loop().call_later(answer.delay, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(answer.data)
        if answer.end is End.CLOSE:
            self._transport.close()
        elif answer.end is End.RESET:
            self._transport.abort()


def _content_length(data: bytes, head_end: int) -> int:
    at = data.find(b"Content-Length: ", 0, head_end)
    if at < 0:
        if data.find(b"Transfer-Encoding", 0, head_end) >= 0:
            raise NotImplementedError("this server reads requests with a length only")
        return 0
    return int(data[at + 16 : data.index(b"\r", at)])


async def _serve(options: Options) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each connection is a file
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
    """Find the event loop called `asyncio` or `uvloop`."""
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
    """Serve with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", nargs="?", default="{}", help="Options, as JSON")
    options = Options(**json.loads(parser.parse_args().options))
    with asyncio.Runner(loop_factory=loop_factory(_fastest_loop())) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    main()
