"""Lifecycle part of the API: state machine and idempotency store, without I/O.

Each `Api.call` is one write or read, sent directly or as an item of a bulk request.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fault_server.ledger import Ledger

Json = dict[str, Any]

REGISTER, START = "agent_instances.register", "agent_instances.start"
FINISH, TERMINATE = "agent_instances.finish", "agent_instances.terminate"
RECORD_QUALITY = "agent_instances.record_quality"
CREATE_SPAN, FINISH_SPAN = "agent_spans.create", "agent_spans.finish"
GET_INSTANCE, GET_SPAN, LIST_SPANS = "agent_instances.get", "agent_spans.get", "agent_spans.list"
WRITES = frozenset({REGISTER, START, FINISH, TERMINATE, RECORD_QUALITY, CREATE_SPAN, FINISH_SPAN})

MAX_REASON = 255  # longer termination reasons are truncated
# The previous state of a resource, by its current state.
STATE_BEFORE = {"active": "pending", "complete": "active", "failed": "active"}
STATE_BEFORE |= {"terminated": "active", "cancelled": "pending"}
_STATES = ("pending", *STATE_BEFORE)


@dataclass(slots=True)
class Answer:
    """Response of the API to one call.

    Attributes:
        status: HTTP status.
        body: JSON object.
        result: What happened, for the history: ``applied``, ``replayed``, ``refused`` or ``read``.
    """

    status: int
    body: Json
    result: str

    @property
    def ok(self) -> bool:
        return self.status == 200


class _RefusalError(Exception):
    def __init__(self, status: int, code: str, **errors: str) -> None:
        body: Json = {"status": "error", "code": code, "message": code}
        if errors:
            body["errors"] = {name: [message] for name, message in errors.items()}
        self.answer = Answer(status, body, "refused")


def invalid_action() -> _RefusalError:
    return _RefusalError(409, "invalid_action")


@dataclass
class Switches:
    """Deviations from an API that never forgets a key.

    Attributes:
        deduplicate: If False, a repeated write is executed again, as if it had no key.
        forget: Probability that the API forgets the key of a write immediately. Only for writes
            whose repetition it can still recognize: changes of state, and creates with an id or a
            unique name.
        read_spans: Whether a span can be read by its id.
    """

    deduplicate: bool = True
    forget: float = 0.0
    read_spans: bool = True


@dataclass
class Api:
    """Instances, spans and idempotency keys of one account.

    Attributes:
        counts: Writes that break the contract, by rule; forgotten and replayed keys; refused calls
            by code.
    """

    ledger: Ledger
    random: random.Random
    switches: Switches = field(default_factory=Switches)
    counts: Counter[str] = field(default_factory=Counter)
    instances: dict[str, Json] = field(default_factory=dict)
    spans: dict[str, Json] = field(default_factory=dict)
    spans_of: dict[str, list[str]] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _stored: dict[tuple[str, str], tuple[str, Json]] = field(default_factory=dict)
    _forgotten: set[tuple[str, str]] = field(default_factory=set)
    _last_id: int = 0

    def call(self, operation: str, resource_id: str | None, fields: Json) -> Answer:
        """Execute a call.

        Args:
            operation: Such as ``agent_instances.start``.
            resource_id: The id in the path, or None.
            fields: The body of a write, including its key, or the query of a list.
        """
        try:
            if operation in WRITES:
                return self._write(operation, resource_id, fields)
            return Answer(200, self._read(operation, resource_id, fields), "read")
        except _RefusalError as refused:
            self.counts[f"refused_{refused.answer.body['code']}"] += 1
            return refused.answer

    def _write(self, operation: str, resource_id: str | None, fields: Json) -> Answer:
        fields = dict(fields)
        key = fields.pop("idempotency_key", None)
        if not isinstance(key, str) or not 1 <= len(key) <= 128:
            self.counts["keyless"] += 1
            raise _RefusalError(422, "validation_errors", idempotency_key="is missing")
        digest = _digest(operation, resource_id, fields)
        slot = (operation, key)
        if self.switches.deduplicate and slot in self._stored:
            stored, body = self._stored[slot]
            if stored != digest:
                self.counts["conflicts"] += 1
                raise _RefusalError(409, "idempotency_conflict")
            self.counts["replays"] += 1
            return Answer(200, body, "replayed")
        if slot in self._forgotten:
            self.counts["forgotten_keys_seen"] += 1
        details, mark, is_recognisable = _ACTIONS[operation](self, resource_id, fields)
        body = {"status": "success", "details": dict(details)}
        self.ledger.record_effect(operation, mark, key, details["id"], digest)
        if is_recognisable and self.random.random() < self.switches.forget:
            self._forgotten.add(slot)
        else:
            self._stored[slot] = (digest, body)
        return Answer(200, body, "applied")

    def _read(self, operation: str, resource_id: str | None, query: Json) -> Json:
        if operation == GET_INSTANCE and resource_id in self.instances:
            return {"status": "success", "details": self.instances[resource_id]}
        if operation == GET_SPAN and self.switches.read_spans and resource_id in self.spans:
            return {"status": "success", "details": self.spans[resource_id]}
        if operation == LIST_SPANS and query.get("agent_instance_id") in self.instances:
            return self._page_of_spans(query)
        raise _RefusalError(404, "not_found")

    def _page_of_spans(self, query: Json) -> Json:
        ids = self.spans_of.get(query["agent_instance_id"], [])
        offset = int(query.get("pagination[offset]", 0))
        size = int(query.get("pagination[page_size]", 50))
        page, after = ids[offset : offset + size], offset + size
        return {
            "status": "success",
            "summaries": [self.spans[id_] for id_ in page],
            "pagination": {
                "item_count": len(ids),
                "item_start": offset + 1,
                "item_end": offset + len(page),
                "page_count": -(-len(ids) // size),
                "page_index": offset // size + 1,
                "page_offset": offset,
                "page_size": size,
                "next_page_offset": after if after < len(ids) else None,
                "previous_page_offset": max(0, offset - size) if offset else None,
            },
            "sorting": {"field": "id", "direction": "asc"},
        }

    def _new_id(self, fields: Json, known: dict[str, Json]) -> str:
        given = fields.get("id")
        if given is None:
            self._last_id += 1
            return f"7{self._last_id:031d}"
        if given in known:
            raise _RefusalError(422, "validation_errors", id="has already been taken")
        return str(given)

    def _register(self, _: str | None, fields: Json) -> tuple[Json, str, bool]:
        id_ = self._new_id(fields, self.instances)
        name = fields.get("external_identifier")
        if name is not None:
            name = name.strip()
            if name in self._names:
                raise _RefusalError(
                    422, "validation_errors", external_identifier="has already been taken"
                )
            self._names.add(name)
        now = _text(datetime.now(UTC))
        self.instances[id_] = instance = {
            "type": "agent_instance",
            "id": id_,
            "account_id": "0" * 32,
            "agent_id": fields.get("agent_id") or "1" * 32,
            "agent_version_id": "2" * 32,
            "environment_id": fields.get("environment_id") or "3" * 32,
            "agent_deployment_id": "4" * 32,
            "status": "pending",
            "inserted_at": now,
            "updated_at": now,
            "started_at": None,
            "finished_at": None,
            "termination_reason": None,
            "external_identifier": name,
            "purpose": fields.get("purpose") or "live",
            "quality_payloads": {},
        }
        mark = (fields.get("agent_version") or {}).get("name") or fields.get("id") or name or id_
        return instance, mark, "id" in fields or name is not None

    def _instance_in(self, id_: str | None, *states: str) -> Json:
        instance = self.instances.get(id_ or "")
        if instance is None:
            raise _RefusalError(404, "not_found")
        if instance["status"] not in states:
            raise invalid_action()
        return instance

    def _start(self, id_: str | None, fields: Json) -> tuple[Json, str, bool]:
        instance = self._instance_in(id_, "pending")
        instance |= {"status": "active", "started_at": _moment(fields)}
        return instance, instance["id"], True

    def _finish(self, id_: str | None, fields: Json) -> tuple[Json, str, bool]:
        status = fields.get("status") or "complete"
        instance = self._instance_in(id_, "pending" if status == "cancelled" else "active")
        moment = _moment(fields)
        instance |= {"status": status, "finished_at": moment}
        if status == "cancelled":
            instance["started_at"] = moment
        return instance, instance["id"], True

    def _terminate(self, id_: str | None, fields: Json) -> tuple[Json, str, bool]:
        reason = str(fields.get("reason") or "").strip()
        if not reason:
            raise _RefusalError(422, "validation_errors", reason="is blank")
        instance = self._instance_in(id_, "active")
        instance |= {
            "status": "terminated",
            "termination_reason": reason[:MAX_REASON],
            "finished_at": _text(datetime.now(UTC)),
        }
        return instance, instance["id"], True

    def _record_quality(self, id_: str | None, fields: Json) -> tuple[Json, str, bool]:
        instance = self._instance_in(id_, *_STATES)
        payloads = {**instance["quality_payloads"], fields["name"]: fields["payload"]}
        instance |= {"quality_payloads": payloads}
        # Only its key tells a repetition of this write.
        return instance, f"{instance['id']}/{fields['name']}", False

    def _create_span(self, _: str | None, fields: Json) -> tuple[Json, str, bool]:
        fields = fields.get("details", fields)
        owner = self._instance_in(
            fields.get("agent_instance_id"), "pending", "active", "terminated"
        )
        id_ = self._new_id(fields, self.spans)
        self.spans[id_] = span = {
            "type": "agent_span",
            "id": id_,
            "account_id": owner["account_id"],
            "agent_id": owner["agent_id"],
            "agent_instance_id": owner["id"],
            "parent_span_id": fields.get("parent_span_id"),
            "schema_name": fields["schema_name"],
            "schema_title": fields["schema_name"],
            "status": fields["status"],
            "payload": fields["payload"],
            "result_payload": fields.get("result_payload"),
            "summary": None,
            "started_at": None if fields["status"] == "pending" else _moment(fields, "started_at"),
            "finished_at": fields.get("finished_at"),
        }
        self.spans_of.setdefault(owner["id"], []).append(id_)
        return span, fields["payload"].get("mark") or id_, "id" in fields

    def _finish_span(self, id_: str | None, fields: Json) -> tuple[Json, str, bool]:
        span = self.spans.get(id_ or "")
        if span is None:
            raise _RefusalError(404, "not_found")
        status = fields.get("status") or "complete"
        if span["status"] != ("pending" if status == "cancelled" else "active"):
            raise invalid_action()
        span |= {"status": status, "finished_at": _moment(fields)}
        if fields.get("result_payload") is not None:
            span["result_payload"] = fields["result_payload"]
        return span, span["id"], True


_ACTIONS: dict[str, Any] = {
    REGISTER: Api._register,
    START: Api._start,
    FINISH: Api._finish,
    TERMINATE: Api._terminate,
    RECORD_QUALITY: Api._record_quality,
    CREATE_SPAN: Api._create_span,
    FINISH_SPAN: Api._finish_span,
}


def _digest(operation: str, resource_id: str | None, fields: Json) -> str:
    text = json.dumps([operation, resource_id, fields], sort_keys=True)
    return hashlib.sha1(text.encode()).hexdigest()


def _moment(fields: Json, name: str = "timestamp") -> str:
    given = fields.get(name)
    return _text(datetime.fromisoformat(given) if given else datetime.now(UTC))


def _text(moment: datetime) -> str:
    # As the live API formats timestamps: in UTC with milliseconds.
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
