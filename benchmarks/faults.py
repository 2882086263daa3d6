"""An API that injects seeded random faults and records which writes took effect."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable

import msgspec
from msgspec import Struct

from benchmarks import responses
from benchmarks.applications import OK, ConnectionAction, Response

_STALL = 3600.0  # longer than the timeout of every contender


class _Write(Struct):
    idempotency_key: str | None = None
    external_identifier: str | None = None
    status: str | None = None


_read_write = msgspec.json.Decoder(_Write).decode


class Ledger:
    """The writes that took effect: instance ids by `external_identifier`, and states by id."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._registered: dict[str, list[str]] = {}
        self._responses_by_key: dict[str, bytes] = {}
        self._ids = itertools.count()
        self.replayed = 0

    def apply(self, path: bytes, body: bytes) -> bytes:
        """Apply a write, or replay the response of a known key; return the whole response."""
        write = _read_write(body)
        key = write.idempotency_key
        if key is not None and key in self._responses_by_key:
            self.replayed += 1
            return self._responses_by_key[key]
        *_, owner, action = path.decode().split("/")
        if action == "register":
            response = self._register(write.external_identifier or "")
        elif (action, self._states[owner]) in {("start", "pending"), ("finish", "active")}:
            response = self._move(owner, "active" if action == "start" else write.status)
        else:
            return responses.http("409 Conflict", responses.error("invalid_action", "Wrong state"))
        if key is not None:
            self._responses_by_key[key] = response
        return response

    def read(self, path: bytes) -> bytes:
        instance_id = path.decode().rpartition("/")[2]
        details = responses.instance(self._states[instance_id], instance_id)
        return responses.http(OK, responses.success(details))

    def stats(self) -> dict[str, object]:
        """Return the number of instances by state, and which writes took effect."""
        states = Counter(self._states.values())
        duplicates = sum(len(ids) - 1 for ids in self._registered.values())
        states_of = {
            name: {self._states[each] for each in ids} for name, ids in self._registered.items()
        }
        return {
            "instances": len(self._states),
            "states": states,
            "doubled": duplicates,
            "registered": list(self._registered),
            "started": [name for name, those in states_of.items() if those - {"pending"}],
            "finished": [name for name, those in states_of.items() if "complete" in those],
            "replayed": self.replayed,
        }

    def _register(self, name: str) -> bytes:
        instance_id = f"01hx3v9k2f00000cs{next(self._ids):015d}"
        self._states[instance_id] = "pending"
        self._registered.setdefault(name, []).append(instance_id)
        return responses.http(OK, responses.registered(instance_id))

    def _move(self, instance_id: str, status: str | None) -> bytes:
        self._states[instance_id] = state = status or "complete"
        return responses.http(OK, responses.success(responses.instance(state, instance_id)))


class FaultyApi:
    """A ledger behind an unreliable network.

    Args:
        rate: Fraction of attempts that fail, 0 to 1.
        seed: Seed of the random faults.
        retry_after: Seconds in the ``Retry-After`` of a 429 or 503.
    """

    def __init__(self, rate: float, seed: int, retry_after: int) -> None:
        self._ledger = Ledger()
        self._rate = rate
        self._random = random.Random(seed)
        self._counts: Counter[str] = Counter()
        retry_after_header = f"Retry-After: {retry_after}"
        busy = responses.error("unavailable", "Busy")
        page = b"<html><body>502 Bad Gateway</body></html>"
        self._responses = {
            "busy": responses.http("503 Service Unavailable", busy, retry_after_header),
            "limited": responses.http("429 Too Many Requests", busy, retry_after_header),
            "page": responses.http("502 Bad Gateway", page, content_type="text/html"),
            "empty": responses.http("504 Gateway Timeout", b""),
            "crash": responses.http(
                "500 Internal Server Error", responses.error("internal", "Oops")
            ),
        }
        self._faults: tuple[Callable[[bytes, bytes], Response | bytes], ...] = (
            self._reset_before,
            self._reset_after,
            self._cut_off,
            self._stall_before,
            self._stall_in_body,
            self._busy,
            self._limited,
            self._page,
            self._empty,
            self._crash_after,
            self._close_after,
        )

    def respond(self, path: bytes, body: bytes) -> Response | bytes:
        if self._random.random() < self._rate:
            fault = self._random.choice(self._faults)
            self._counts[fault.__name__.strip("_")] += 1
            return fault(path, body)
        return self._apply(path, body)

    def stats(self) -> dict[str, object]:
        """Return the counts of the ledger and of the injected faults."""
        return {**self._ledger.stats(), "faults": self._counts}

    def _apply(self, path: bytes, body: bytes) -> bytes:
        return self._ledger.apply(path, body) if body else self._ledger.read(path)

    def _reset_before(self, _path: bytes, _body: bytes) -> Response:
        return Response(b"", then=ConnectionAction.RESET)

    def _reset_after(self, path: bytes, body: bytes) -> Response:
        self._apply(path, body)
        return Response(b"", then=ConnectionAction.RESET)

    def _cut_off(self, path: bytes, body: bytes) -> Response:
        return Response(self._apply(path, body)[:-40], then=ConnectionAction.CLOSE)

    def _stall_before(self, _path: bytes, _body: bytes) -> Response:
        return Response(b"", delay=_STALL)

    def _stall_in_body(self, path: bytes, body: bytes) -> Response:
        return Response(self._apply(path, body)[:-40])

    def _busy(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["busy"]

    def _limited(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["limited"]

    def _page(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["page"]

    def _empty(self, _path: bytes, _body: bytes) -> bytes:
        return self._responses["empty"]

    def _crash_after(self, path: bytes, body: bytes) -> bytes:
        self._apply(path, body)
        return self._responses["crash"]

    def _close_after(self, path: bytes, body: bytes) -> Response:
        return Response(self._apply(path, body), then=ConnectionAction.CLOSE)
