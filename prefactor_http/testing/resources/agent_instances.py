"""Agent instances: register, start, finish, terminate, record quality, read (contract §7)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.agent_spans import cancel_open_spans
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

OUTCOMES = frozenset({"complete", "failed", "cancelled"})
PURPOSES = frozenset({"live", "smoke_test", "eval"})
_SUMMARY = (
    *("id", "account_id", "agent_id", "agent_version_id", "environment_id", "status", "type"),
    *("started_at", "finished_at", "inserted_at", "updated_at"),
    *("termination_reason", "purpose", "risk_score"),
)
_SORTABLE = frozenset({"id", "status", "started_at", "finished_at"})
_SPAN_COUNTS = ("total", "pending", "active", "complete", "failed", "cancelled", "finished")


def register(context: Context, fields: Fields) -> Success:
    """``POST /agent_instance/register``."""
    account = context.account
    agent_id = context.token.target("agent_id", fields.text("agent_id"))
    environment_id = context.token.target("environment_id", fields.text("environment_id"))
    if agent_id is None:
        fields.refuse("agent_id", "is required")
    if environment_id is None:
        fields.refuse("environment_id", "is required")
    fields.check()
    agent = find(account.agents, agent_id, "The agent")
    find(account.environments, environment_id, "The environment")
    if agent["status"] == "retired":
        raise invalid_action("The agent is retired.")
    instance_id = account.id_for(fields, account.instances)
    external_identifier = account.external_identifier(fields, agent["id"])
    purpose = fields.choice("purpose", PURPOSES) or "live"
    pins = fields.flag("update_current_version", default=True)
    version = context.versions.find_or_create(agent["id"], fields)
    deployment = context.deployments.find_or_create(agent["id"], str(environment_id))
    if pins:
        context.deployments.pin(deployment, version.agent_version["id"])
    instance = account.stamped(
        {
            "type": "agent_instance",
            "id": instance_id,
            "account_id": account.account_id,
            "agent_id": agent["id"],
            "agent_deployment_id": deployment["id"],
            "agent_version_id": version.agent_version["id"],
            "environment_id": environment_id,
            "external_identifier": external_identifier,
            "purpose": purpose,
            "status": "pending",
            "started_at": None,
            "finished_at": None,
            "termination_reason": None,
            "span_counts": dict.fromkeys(_SPAN_COUNTS, 0),
            "quality_payloads": {},
            "quality_summaries": {},
            "cost_breakdown": {},
            "span_schema_counts": {},
            "risk_score": None,
        }
    )
    account.instances[instance_id] = instance
    account.instances_of[agent["id"]] += 1
    account.take_external_identifier(agent["id"], instance)
    if agent["status"] == "pending":
        agent["status"] = "active"
    return details(instance, version.siblings())


def start(context: Context, fields: Fields) -> Success:
    """``POST /agent_instance/{id}/start``: pending becomes active."""
    instance = _instance(context, fields)
    moment = fields.moment("timestamp")
    fields.check()
    if instance["status"] != "pending":
        raise invalid_action(f"The instance is {instance['status']}; it must be pending.")
    instance["status"] = "active"
    instance["started_at"] = as_text(moment or context.account.now())
    return _changed(context, instance)


def finish(context: Context, fields: Fields) -> Success:
    """``POST /agent_instance/{id}/finish``: active ends, pending is cancelled."""
    instance = _instance(context, fields)
    status = fields.choice("status", OUTCOMES) or "complete"
    moment = fields.moment("timestamp")
    fields.check()
    needed = "pending" if status == "cancelled" else "active"
    if instance["status"] != needed:
        raise invalid_action(f"The instance is {instance['status']}; it must be {needed}.")
    ended = moment or context.account.now()
    started = instance["started_at"]
    if started is None:
        instance["started_at"] = as_text(ended)
    elif ended < datetime.fromisoformat(started):
        raise invalid_field("timestamp", "is before the instance started")
    instance["status"] = status
    instance["finished_at"] = as_text(ended)
    return _changed(context, instance)


def terminate(context: Context, fields: Fields) -> Success:
    """``POST /agent_instance/{id}/terminate``: active becomes terminated."""
    instance = _instance(context, fields)
    reason = fields.required_text("reason")
    fields.check()
    if instance["status"] != "active":
        raise invalid_action(f"The instance is {instance['status']}; it must be active.")
    instance["status"] = "terminated"
    instance["termination_reason"] = reason
    instance["finished_at"] = as_text(context.account.now())
    if context.account.close_spans_on_terminate:
        cancel_open_spans(context, instance)
    return _changed(context, instance)


def record_quality(context: Context, fields: Fields) -> Success:
    """``POST /agent_instance/{id}/record_quality``: set or remove one named payload."""
    instance = _instance(context, fields)
    name = fields.required_text("name")
    payload = fields.mapping("payload")
    if not fields.has("payload"):
        fields.refuse("payload", "is required; null removes it")
    version = context.account.agent_versions[instance["agent_version_id"]]
    schema = context.account.schema_versions[version["agent_schema_version_id"]]
    if all(quality["name"] != name for quality in schema["quality_schemas"]):
        fields.refuse("name", "is not in the schema's quality_schemas")
    fields.check()
    if payload is None:
        instance["quality_payloads"].pop(name, None)
        instance["quality_summaries"].pop(name, None)
    else:
        instance["quality_payloads"][name] = payload
        instance["quality_summaries"][name] = name
    return _changed(context, instance)


def replace_quality(context: Context, fields: Fields) -> Success:
    """``PUT /agent_instance/{id}``: older form, replaces the whole payload."""
    instance = _instance(context, fields)
    payload = fields.required_within("details").required_mapping("quality_payload")
    fields.check()
    instance["quality_payloads"] = payload
    instance["quality_summaries"] = {}
    return _changed(context, instance)


def show(context: Context, fields: Fields) -> Success:
    """``GET /agent_instance/{id}``."""
    return details(_instance(context, fields))


def agent_context(context: Context, fields: Fields) -> Success:
    """``GET /agent_instance/{id}/agent_context``: an export for debugging."""
    instance = _instance(context, fields)
    body = {"agent_instance": instance, "spans": context.account.spans_of.get(instance["id"], [])}
    return Success(None, {"agent_context": {"body": body}})


def list_instances(context: Context, fields: Fields) -> Success:
    """``GET /agent_instance``."""
    wanted = {name: fields.text(name) for name in ("agent_id", "agent_version_id")}
    return page(
        fields, context.account.instances, wanted=wanted, sortable=_SORTABLE, summary=_SUMMARY
    )


def _instance(context: Context, fields: Fields) -> JsonObject:
    return find(context.account.instances, fields.value("agent_instance_id"), "The agent instance")


def _changed(context: Context, instance: JsonObject) -> Success:
    context.account.touch(instance)
    return details(instance)
