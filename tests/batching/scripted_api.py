"""An API in memory whose calls succeed, are refused or make any request fail, by their key."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from raw_server import RawServer, Request, reply

NOW = "2026-01-01T00:00:00Z"
_IDS = dict.fromkeys(("account_id", "agent_id", "agent_version_id", "environment_id"), "x")
_MOVES = {"start": ("pending", "active"), "finish": ("active", "complete")}


class Ending(StrEnum):
    """What the API does with a call."""

    OK = "ok"
    REFUSED = "refused"
    POISON = "poison"


class Fault(StrEnum):
    """What happens to a whole request."""

    NONE = "none"
    UNAVAILABLE = "unavailable"
    LOST = "lost"


class _ServerError(Exception):
    """The API cannot handle a call: the whole request fails."""


class ScriptedApi:
    """Answers direct and bulk requests for registers, starts and finishes.

    Args:
        server: The server that it answers for.
        endings: What it does with calls, by key.
        faults: What happens to requests, in order of arrival; later ones have no faults.

    Attributes:
        effects: Keys of the applied writes, in order.
        arrivals: Keys in the order in which they first arrived, by instance.
        overlaps: Instances with calls in two requests at once.
        largest_bulk: The number of items of the largest bulk request.
    """

    def __init__(
        self, server: RawServer, endings: Mapping[str, Ending], faults: Iterable[Fault]
    ) -> None:
        self.effects: list[str] = []
        self.arrivals: dict[str, list[str]] = defaultdict(list)
        self.overlaps: set[str] = set()
        self.largest_bulk = 0
        self._instances: dict[str, dict[str, Any]] = {}
        self._results: dict[tuple[str, str], dict[str, Any]] = {}
        self._endings = endings
        self._faults = iter(faults)
        self._open: Counter[str] = Counter()
        server.answer = self._answer

    def add_instance(self, id: str, **fields: Any) -> dict[str, Any]:
        """Add a pending instance."""
        instance = {
            "type": "agent_instance",
            "id": id,
            "status": "pending",
            "inserted_at": NOW,
            "updated_at": NOW,
            **_IDS,
            **fields,
        }
        self._instances[id] = instance
        return instance

    async def _answer(self, request: Request) -> bytes:
        path = request.target.removeprefix("/api/v1/")
        if request.method == "GET":
            return reply(200, _success(self._instances[path.rpartition("/")[2]]))
        calls = _calls_of(path, request.json)
        fault = next(self._faults, Fault.NONE)
        touched = {fields["agent_instance_id"] for action, fields in calls if action != "register"}
        self.overlaps |= {each for each in touched if self._open[each]}
        self._open.update(touched)
        for _, fields in calls:
            arrived = self.arrivals[fields.get("agent_instance_id", "")]
            if fields["idempotency_key"] not in arrived:
                arrived.append(fields["idempotency_key"])
        try:
            await asyncio.sleep(0.002)
            if fault is Fault.UNAVAILABLE:
                return reply(503, _error("service_unavailable"))
            answer = self._bulk(calls) if path == "bulk" else self._single(*calls[0])
        except _ServerError:
            answer = reply(500, _error("internal_server_error"))
        finally:
            self._open.subtract(touched)
        return b"" if fault is Fault.LOST else answer

    def _single(self, action: str, fields: dict[str, Any]) -> bytes:
        output = self._run(action, fields)
        if output["status"] == "success":
            return reply(200, output)
        return reply(409 if output["code"] == "invalid_action" else 422, output)

    def _bulk(self, calls: list[tuple[str, dict[str, Any]]]) -> bytes:
        """Run items in order and stop at the first error, as the API does (contract §9)."""
        self.largest_bulk = max(self.largest_bulk, len(calls))
        outputs: dict[str, Any] = {}
        for action, fields in calls:
            output = outputs[fields["idempotency_key"]] = self._run(action, fields)
            if output["status"] == "error":
                break
        return reply(200, {"status": "success", "outputs": outputs})

    def _run(self, action: str, fields: dict[str, Any]) -> dict[str, Any]:
        key = fields["idempotency_key"]
        ending = self._endings[key]
        if ending is Ending.POISON:
            raise _ServerError
        if ending is Ending.REFUSED:
            return {**_error("validation_errors"), "errors": {"field": ["is refused"]}}
        if (action, key) in self._results:
            return self._results[action, key]
        if action == "register":
            name = fields["external_identifier"]
            instance = self.add_instance(f"of-{name}", external_identifier=name)
        else:
            instance = self._instances[fields["agent_instance_id"]]
            before, after = _MOVES[action]
            if instance["status"] != before:
                return _error("invalid_action")
            instance["status"] = after
            instance[f"{action}ed_at"] = fields["timestamp"]
        self.effects.append(key)
        result = self._results[action, key] = _success(dict(instance))
        return result


def _calls_of(path: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if path == "bulk":
        return [(item["_type"].partition("/")[2], item) for item in body["items"]]
    *_, instance_id, action = path.split("/")
    fields = {} if action == "register" else {"agent_instance_id": instance_id}
    return [(action, {**body, **fields})]


def _success(details: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "details": details}


def _error(code: str) -> dict[str, Any]:
    return {"status": "error", "code": code, "message": code}
