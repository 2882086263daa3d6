"""An API that remembers what took effect while a seeded share of its attempts goes wrong."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable

import msgspec
from msgspec import Struct

from benchmarks import replies
from benchmarks.applications import OK, Answer, End

_STALL = 3600.0  # longer than any contender waits


class _Write(Struct):
    idempotency_key: str | None = None
    external_identifier: str | None = None
    status: str | None = None


_read_write = msgspec.json.Decoder(_Write).decode


class Ledger:
    """The writes that took effect: registers by their caller's name, instances by their state."""

    def __init__(self) -> None:
        self._state: dict[str, str] = {}
        self._registered: dict[str, list[str]] = {}
        self._replies: dict[str, bytes] = {}
        self._ids = itertools.count()
        self.replayed = 0

    def apply(self, path: bytes, body: bytes) -> bytes:
        """Carry out a write, or replay it where its key is known; returns the whole response."""
        write = _read_write(body)
        key = write.idempotency_key
        if key is not None and key in self._replies:
            self.replayed += 1
            return self._replies[key]
        *_, owner, action = path.decode().split("/")
        if action == "register":
            reply = self._register(write.external_identifier or "")
        elif (action, self._state[owner]) in {("start", "pending"), ("finish", "active")}:
            reply = self._move(owner, "active" if action == "start" else write.status)
        else:
            return replies.http("409 Conflict", replies.error("invalid_action", "Wrong state"))
        if key is not None:
            self._replies[key] = reply
        return reply

    def read(self, path: bytes) -> bytes:
        """Show an instance."""
        instance_id = path.decode().rpartition("/")[2]
        details = replies.instance(self._state[instance_id], instance_id)
        return replies.http(OK, replies.success(details))

    def stats(self) -> dict[str, object]:
        """Tell what exists: instances by state, and how often each register took effect."""
        states = Counter(self._state.values())
        surplus = sum(len(ids) - 1 for ids in self._registered.values())
        states_of = {
            name: {self._state[each] for each in ids} for name, ids in self._registered.items()
        }
        return {
            "instances": len(self._state),
            "states": states,
            "doubled": surplus,
            "registered": list(self._registered),
            "started": [name for name, those in states_of.items() if those - {"pending"}],
            "finished": [name for name, those in states_of.items() if "complete" in those],
            "replayed": self.replayed,
        }

    def _register(self, name: str) -> bytes:
        instance_id = f"01hx3v9k2f00000cs{next(self._ids):015d}"
        self._state[instance_id] = "pending"
        self._registered.setdefault(name, []).append(instance_id)
        return replies.http(OK, replies.registered(instance_id))

    def _move(self, instance_id: str, status: str | None) -> bytes:
        self._state[instance_id] = state = status or "complete"
        return replies.http(OK, replies.success(replies.instance(state, instance_id)))


class Faulty:
    """A ledger behind a network that fails.

    Args:
        rate: Share of attempts that go wrong.
        seed: Of the dice.
        retry_after: Seconds in ``Retry-After``.
    """

    def __init__(self, rate: float, seed: int, retry_after: int) -> None:
        self._ledger = Ledger()
        self._rate = rate
        self._dice = random.Random(seed)
        self._counts: Counter[str] = Counter()
        after = f"Retry-After: {retry_after}"
        busy = replies.error("unavailable", "Busy")
        page = b"<html><body>502 Bad Gateway</body></html>"
        self._responses = {
            "busy": replies.http("503 Service Unavailable", busy, after),
            "limited": replies.http("429 Too Many Requests", busy, after),
            "page": replies.http("502 Bad Gateway", page, content_type="text/html"),
            "empty": replies.http("504 Gateway Timeout", b""),
            "crash": replies.http("500 Internal Server Error", replies.error("internal", "Oops")),
        }
        self._faults: tuple[Callable[[bytes, bytes], Answer | bytes], ...] = (
            self._reset_before,
            self._reset_after,
            self._cut_off,
            self._stall_before,
            self._stall_within,
            self._busy,
            self._limited,
            self._page,
            self._empty,
            self._crash_after,
            self._close_after,
        )

    def respond(self, path: bytes, body: bytes) -> Answer | bytes:
        """Answer a request, or fail to."""
        if self._dice.random() < self._rate:
            fault = self._dice.choice(self._faults)
            self._counts[fault.__name__.strip("_")] += 1
            return fault(path, body)
        return self._reply(path, body)

    def stats(self) -> dict[str, object]:
        """Tell what took effect, and which faults were made."""
        return {**self._ledger.stats(), "faults": self._counts}

    def _reply(self, path: bytes, body: bytes) -> bytes:
        return self._ledger.apply(path, body) if body else self._ledger.read(path)

    def _reset_before(self, _path: bytes, _body: bytes) -> Answer:
        return Answer(b"", end=End.RESET)

    def _reset_after(self, path: bytes, body: bytes) -> Answer:
        self._reply(path, body)
        return Answer(b"", end=End.RESET)

    def _cut_off(self, path: bytes, body: bytes) -> Answer:
        return Answer(self._reply(path, body)[:-40], end=End.CLOSE)

    def _stall_before(self, _path: bytes, _body: bytes) -> Answer:
        return Answer(b"", delay=_STALL)

    def _stall_within(self, path: bytes, body: bytes) -> Answer:
        return Answer(self._reply(path, body)[:-40])

    def _busy(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["busy"]

    def _limited(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["limited"]

    def _page(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["page"]

    def _empty(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["empty"]

    def _crash_after(self, path: bytes, body: bytes) -> bytes:
        self._reply(path, body)
        return self._responses["crash"]

    def _close_after(self, path: bytes, body: bytes) -> Answer:
        return Answer(self._reply(path, body), end=End.CLOSE)
