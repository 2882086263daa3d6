"""Applications of the benchmark server. They respond with bytes encoded in advance."""

from __future__ import annotations

from enum import Enum, auto
from itertools import cycle

import msgspec
from msgspec import Struct, field

from benchmarks import responses, workload

OK = "200 OK"


class ConnectionAction(Enum):
    """What happens to the connection after a response."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()


class Response(Struct):
    """A response and how to send it.

    Attributes:
        data: The bytes to send: a whole response, a part of one, or none.
        delay: Seconds to wait before sending.
        then: What happens to the connection afterwards.
    """

    data: bytes
    delay: float = 0.0
    then: ConnectionAction = ConnectionAction.KEEP


class _Item(Struct):
    idempotency_key: str
    type: str = field(name="_type")
    id: str | None = None


class _Bulk(Struct):
    items: list[_Item]


_read_bulk = msgspec.json.Decoder(_Bulk).decode


_IDS = [f"{workload.INSTANCE_ID[:-4]}{number:04d}" for number in range(1024)]
"""Clients compare ids, so consecutive registers must get different ones."""


class Canned:
    """Responds to every write with canned bytes.

    Args:
        delay: Seconds before each response to registers.
        service_time: Seconds of work on each register. Single calls are worked on at once, the
            items of a bulk request one after another.
    """

    def __init__(self, delay: float = 0.0, service_time: float = 0.0) -> None:
        self._delay = delay
        self._service_time = service_time
        started = responses.success(responses.instance("active"))
        self._by_ending = {
            b"start": responses.http(OK, started),
            b"finish": responses.http(OK, responses.success(responses.instance("complete"))),
            b"agent_spans": responses.http(OK, responses.success(responses.span("active"))),
            b"span_finish": responses.http(OK, responses.success(responses.span("complete"))),
        }
        registered = [responses.registered(instance_id) for instance_id in _IDS]
        self._registered = cycle([responses.http(OK, body) for body in registered])
        self._outputs = cycle([b'":' + body + b',"' for body in registered])
        self._started = b'":' + started + b',"'
        # An outbox chooses the ids, which the responses have to contain.
        self._before_id, self._after_id = responses.registered("%").split(b"%", 1)

    def respond(self, path: bytes, body: bytes) -> Response | bytes:
        ending = path[path.rfind(b"/") + 1 :]
        if ending == b"register":
            return self._delayed(next(self._registered), 1)
        if ending == b"bulk":
            return self._bulk(body)
        if ending == b"finish" and b"/agent_spans/" in path:
            return self._by_ending[b"span_finish"]
        return self._by_ending[ending]

    def stats(self) -> dict[str, object]:
        return {}

    def _bulk(self, body: bytes) -> Response | bytes:
        registers = 0
        parts = [b'{"status":"success","outputs":{"']
        for item in _read_bulk(body).items:
            if item.type == "agent_instances/register":
                registers += 1
                output = next(self._outputs) if item.id is None else self._output_for(item.id)
            else:
                output = self._started  # the only other call that contenders make in bulk
            parts += item.idempotency_key.encode(), output
        parts[-1] = parts[-1][:-2] + b"}}"
        return self._delayed(responses.http(OK, b"".join(parts)), registers)

    def _output_for(self, instance_id: str) -> bytes:
        return b'":%b%b%b,"' % (self._before_id, instance_id.encode(), self._after_id)

    def _delayed(self, data: bytes, registers: int) -> Response | bytes:
        seconds = (self._delay + self._service_time * registers) if registers else 0.0
        return Response(data, seconds) if seconds else data


class EveryOtherUnavailable:
    """Responds with a 503 to every other request, so a single caller retries each call once.

    Args:
        application: Handles the other requests.
    """

    def __init__(self, application: Canned) -> None:
        self._application = application
        self._unavailable = False
        body = responses.error("unavailable", "Busy")
        self._error = responses.http("503 Service Unavailable", body)

    def respond(self, path: bytes, body: bytes) -> Response | bytes:
        self._unavailable = not self._unavailable
        return self._error if self._unavailable else self._application.respond(path, body)

    def stats(self) -> dict[str, object]:
        return {}
