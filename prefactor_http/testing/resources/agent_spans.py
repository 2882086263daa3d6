"""Agent spans: create, finish, read (contract §8)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.fields import Fields, as_text
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import (
    JsonObject,
    Success,
    details,
    invalid_action,
    invalid_field,
)

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context

STATUSES = frozenset({"pending", "active", "complete", "failed", "cancelled"})
OUTCOMES = frozenset({"complete", "failed", "cancelled"})
_SORTABLE = frozenset({"id", "status", "started_at", "finished_at"})
_MAX_TEST_SPANS = 100


def create(context: Context, fields: Fields) -> Success:
    """``POST /agent_spans``."""
    wrapped = fields.required_within("details")
    account = context.account
    instance_id = wrapped.required_text("agent_instance_id")
    schema_name = wrapped.required_text("schema_name")
    status = wrapped.required_choice("status", STATUSES)
    payload = wrapped.required_mapping("payload")
    result_payload = wrapped.mapping("result_payload")
    if result_payload is not None and status not in OUTCOMES:
        wrapped.refuse("result_payload", "is only allowed for finished spans")
    sensitive = wrapped.flag("sensitive_encoding", default=False)
    started, finished = wrapped.moment("started_at"), wrapped.moment("finished_at")
    fields.check()
    instance = find(account.instances, instance_id, "The agent instance")
    if instance["status"] in OUTCOMES:
        raise invalid_action(f"The instance is {instance['status']}; it accepts no more spans.")
    parent_id = _parent(context, wrapped, instance)
    span_id = account.id_for(wrapped, account.spans)
    now = account.now()
    if status != "pending":
        started = started or min(now, finished or now)
    if status in OUTCOMES:
        finished = finished or max(now, started or now)
    if started is not None and finished is not None and finished < started:
        wrapped.refuse("finished_at", "is before the span started")
    fields.check()
    span = account.stamped(
        {
            "type": "agent_span",
            "id": span_id,
            "account_id": account.account_id,
            "agent_id": instance["agent_id"],
            "agent_instance_id": instance["id"],
            "parent_span_id": parent_id,
            "schema_name": schema_name,
            "schema_title": _title(context, instance, schema_name),
            "status": status,
            "payload": payload,
            "result_payload": result_payload,
            "summary": None,
            "sensitive_encoding": sensitive,
            "started_at": None if status == "pending" or started is None else as_text(started),
            "finished_at": as_text(finished) if status in OUTCOMES and finished else None,
        }
    )
    account.spans[span_id] = span
    account.spans_of.setdefault(instance["id"], []).append(span)
    instance["span_counts"]["total"] += 1
    _count(instance, status, 1)
    return _with_control(span)


def finish(context: Context, fields: Fields) -> Success:
    """``POST /agent_spans/{id}/finish``: active ends, pending is cancelled."""
    account = context.account
    span = find(account.spans, fields.value("agent_span_id"), "The agent span")
    status = fields.choice("status", OUTCOMES) or "complete"
    result_payload = fields.mapping("result_payload")
    sensitive = fields.flag("sensitive_encoding", default=bool(span["sensitive_encoding"]))
    moment = fields.moment("timestamp")
    fields.check()
    needed = "pending" if status == "cancelled" else "active"
    if span["status"] != needed:
        raise invalid_action(f"The span is {span['status']}; it must be {needed}.")
    ended = moment or account.now()
    if span["started_at"] is not None and ended < datetime.fromisoformat(span["started_at"]):
        raise invalid_field("timestamp", "is before the span started")
    if result_payload is not None:
        span["result_payload"] = result_payload
    span["sensitive_encoding"] = sensitive
    _end(context, span, status, ended)
    return _with_control(span)


def show(context: Context, fields: Fields) -> Success:
    """``GET /agent_spans/{id}``."""
    return details(find(context.account.spans, fields.value("agent_span_id"), "The agent span"))


def list_spans(context: Context, fields: Fields) -> Success:
    """``GET /agent_spans``."""
    account = context.account
    instance_id, agent_id = fields.text("agent_instance_id"), fields.text("agent_id")
    if instance_id is None and agent_id is None:
        fields.refuse("agent_instance_id", "or agent_id is required")
    since, until = fields.moment("start_time"), fields.moment("end_time")
    with_summaries = fields.flag("include_summaries", default=False)
    with_risk = fields.flag("include_risk_level", default=False)
    fields.check()
    spans = account.spans.values() if instance_id is None else account.spans_of.get(instance_id, [])
    rows = {
        span["id"]: _shown(span, with_summaries=with_summaries, with_risk=with_risk)
        for span in spans
        if _started_within(span, since, until)
    }
    return page(fields, rows, wanted={"agent_id": agent_id}, sortable=_SORTABLE)


def create_test_spans(context: Context, fields: Fields) -> Success:
    """``POST /agent_spans/create_test_spans``."""
    count = fields.integer("count", default=1, at_least=1, at_most=_MAX_TEST_SPANS)
    fields.check()
    span: JsonObject = {
        "agent_instance_id": fields.value("agent_instance_id"),
        "parent_span_id": fields.value("parent_span_id"),
        "schema_name": "test",
        "status": "complete",
        "payload": {},
    }
    created = [create(context, Fields({"details": span})) for _ in range(count)]
    return Success(None, {"summaries": [success.details for success in created]})


def cancel_open_spans(context: Context, instance: JsonObject) -> None:
    """Cancel the open spans of a terminated instance."""
    now = context.account.now()
    for span in context.account.spans_of.get(instance["id"], []):
        if span["status"] not in OUTCOMES:
            _end(context, span, "cancelled", now)


def _parent(context: Context, fields: Fields, instance: JsonObject) -> str | None:
    parent_id = fields.text("parent_span_id")
    if parent_id is not None:
        parent = context.account.spans.get(parent_id)
        if parent is None or parent["agent_instance_id"] != instance["id"]:
            fields.refuse("parent_span_id", "is not a span of this instance")
    return parent_id


def _title(context: Context, instance: JsonObject, schema_name: str) -> str:
    version = context.account.agent_versions[instance["agent_version_id"]]
    schema = context.account.schema_versions[version["agent_schema_version_id"]]
    title: str = schema["span_type_schemas"].get(schema_name, {}).get("title", schema_name)
    return title


def _end(context: Context, span: JsonObject, status: str, ended: datetime) -> None:
    instance = context.account.instances[span["agent_instance_id"]]
    _count(instance, span["status"], -1)
    _count(instance, status, 1)
    span["status"] = status
    span["started_at"] = span["started_at"] or as_text(ended)
    span["finished_at"] = as_text(ended)
    context.account.touch(span)


def _count(instance: JsonObject, status: str, change: int) -> None:
    instance["span_counts"][status] += change
    if status in OUTCOMES:
        instance["span_counts"]["finished"] += change


def _with_control(span: JsonObject) -> Success:
    return details(span, control_of=span["agent_instance_id"])


def _started_within(span: JsonObject, since: datetime | None, until: datetime | None) -> bool:
    if span["started_at"] is None:
        return since is None and until is None
    started = datetime.fromisoformat(span["started_at"])
    return (since is None or started >= since) and (until is None or started <= until)


def _shown(span: JsonObject, *, with_summaries: bool, with_risk: bool) -> JsonObject:
    shown = dict(span)
    if with_summaries:
        shown["summary"] = span["schema_title"]
    if with_risk:
        shown["risk_level"] = None
    return shown
