"""Applications of the benchmark server; the plain one answers with prepared bytes."""

from __future__ import annotations

from enum import Enum, auto
from itertools import cycle

import msgspec
from msgspec import Struct

from benchmarks import replies, workload

OK = "200 OK"


class End(Enum):
    """What becomes of the connection after an answer."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()


class Answer(Struct):
    """How a reply is sent.

    Attributes:
        data: The bytes, which may be none, or a part of a response.
        delay: Seconds to wait first.
        end: What becomes of the connection.
    """

    data: bytes
    delay: float = 0.0
    end: End = End.KEEP


class _Item(Struct):
    idempotency_key: str


class _Bulk(Struct):
    items: list[_Item]


_read_bulk = msgspec.json.Decoder(_Bulk).decode


_IDS = [f"{workload.INSTANCE_ID[:-4]}{number:04d}" for number in range(1024)]
"""Clients compare ids: a register must not be answered like the one before it."""


class Canned:
    """Answers every write at once with prepared bytes.

    Args:
        delay: Seconds before each reply to a register.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self._by_ending = {
            b"start": replies.http(OK, replies.success(replies.instance("active"))),
            b"finish": replies.http(OK, replies.success(replies.instance("complete"))),
            b"agent_spans": replies.http(OK, replies.success(replies.span("active"))),
            b"span_finish": replies.http(OK, replies.success(replies.span("complete"))),
        }
        registered = [replies.registered(instance_id) for instance_id in _IDS]
        self._registered = cycle([replies.http(OK, reply) for reply in registered])
        self._outputs = cycle([b'":' + reply + b',"' for reply in registered])

    def respond(self, path: bytes, body: bytes) -> Answer | bytes:
        """Answer a request."""
        ending = path[path.rfind(b"/") + 1 :]
        if ending == b"register":
            data = next(self._registered)
        elif ending == b"bulk":
            data = self._bulk(body)
        elif ending == b"finish" and b"/agent_spans/" in path:
            data = self._by_ending[b"span_finish"]
        else:
            data = self._by_ending[ending]
        if self._delay and ending == b"register":
            return Answer(data, self._delay)
        return data

    def stats(self) -> dict[str, object]:
        """Count nothing."""
        return {}

    def _bulk(self, body: bytes) -> bytes:
        # Every item is a register: only keys are read.
        outputs = self._outputs
        parts = [b'{"status":"success","outputs":{"']
        for item in _read_bulk(body).items:
            parts += item.idempotency_key.encode(), next(outputs)
        parts[-1] = parts[-1][:-2] + b"}}"
        return replies.http(OK, b"".join(parts))


class BusyEveryOtherTime:
    """Answers 503 to a request and carries out the next: with one caller, each call has one retry.

    Args:
        application: Answers the other requests.
    """

    def __init__(self, application: Canned) -> None:
        self._application = application
        self._refuse = False
        busy = replies.error("unavailable", "Busy")
        self._refusal = replies.http("503 Service Unavailable", busy)

    def respond(self, path: bytes, body: bytes) -> Answer | bytes:
        """Answer a request, or refuse it."""
        self._refuse = not self._refuse
        return self._refusal if self._refuse else self._application.respond(path, body)

    def stats(self) -> dict[str, object]:
        """Count nothing."""
        return {}
