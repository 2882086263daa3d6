"""Agents: create, read, update, retire, reinstate, delete (contract §11)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import Account, find
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import (
    JsonObject,
    Success,
    details,
    invalid_action,
    invalid_field,
    not_found,
)

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_REFERENCES = ("owner_person_id", "risk_profile_id", "team_id")
_SUMMARY = (
    *("type", "id", "name", "description", "external_identifier", "status"),
    *("owner_person_id", "team_id", "available_actions", "inserted_at", "updated_at"),
)
_SORTABLE = frozenset({"id", "name", "status", "external_identifier"})
_COUNTED = ("pending", "active", "complete", "failed", "cancelled", "terminated")


def add_agent(account: Account, name: str, **optional: object) -> JsonObject:
    """Create an agent and return its details."""
    agent = account.stamped(
        {
            "type": "agent",
            "id": account.new_id(),
            "account_id": account.account_id,
            "name": name,
            "description": None,
            "external_identifier": None,
            "status": "pending",
            **dict.fromkeys(_REFERENCES),
            **optional,
        }
    )
    account.agents[agent["id"]] = agent
    account.take_external_identifier(account.account_id, agent)
    return agent


def create(context: Context, fields: Fields) -> Success:
    """``POST /agent``."""
    account = context.account
    wrapped = fields.required_within("details")
    name = wrapped.required_text("name")
    optional = {
        "id": account.id_for(wrapped, account.agents),
        "description": wrapped.text("description"),
        "external_identifier": account.external_identifier(wrapped, account.account_id),
        **{reference: wrapped.text(reference) for reference in _REFERENCES},
    }
    fields.check()
    return _details(context, add_agent(account, name, **optional))


def show(context: Context, fields: Fields) -> Success:
    """``GET /agent/{id}``, and ``GET /agent/show`` by id or external identifier."""
    agent_id, external = fields.text("agent_id"), fields.text("external_identifier")
    if (agent_id is None) == (external is None):
        raise invalid_field("agent_id", "give exactly one of agent_id and external_identifier")
    if external is not None:
        agent_id = context.account.external_identifiers.get((context.account.account_id, external))
        if agent_id is None:
            raise not_found("The agent")
    agent = find(context.account.agents, agent_id, "The agent")
    with_counts = fields.flag("include_counts", default=False)
    fields.check()
    return _details(context, agent, with_counts=with_counts)


def list_agents(context: Context, fields: Fields) -> Success:
    """``GET /agent``."""
    rows = {agent_id: _shown(context, agent) for agent_id, agent in context.account.agents.items()}
    wanted = {name: fields.text(name) for name in _REFERENCES}
    return page(fields, rows, wanted=wanted, sortable=_SORTABLE, summary=_SUMMARY)


def update(context: Context, fields: Fields) -> Success:
    """``PUT /agent/{id}``: omitted fields are kept, null clears."""
    agent = _agent(context, fields)
    wrapped = fields.required_within("details")
    changes: JsonObject = {}
    if wrapped.has("name"):
        changes["name"] = wrapped.required_text("name")
    for name in ("description", *_REFERENCES):
        if wrapped.has(name):
            changes[name] = wrapped.text(name)
    fields.check()
    agent.update(changes)
    context.account.touch(agent)
    return _details(context, agent)


def retire(context: Context, fields: Fields) -> Success:
    """``POST /agent/{id}/retire``: no more instances can be registered."""
    agent = _agent(context, fields)
    if agent["status"] == "retired":
        raise invalid_action("The agent is already retired.")
    agent["status"] = "retired"
    context.account.touch(agent)
    return _details(context, agent)


def reinstate(context: Context, fields: Fields) -> Success:
    """``POST /agent/{id}/reinstate``: undoes ``retire``."""
    agent = _agent(context, fields)
    if agent["status"] != "retired":
        raise invalid_action("The agent is not retired.")
    agent["status"] = "active" if context.account.instances_of[agent["id"]] else "pending"
    context.account.touch(agent)
    return _details(context, agent)


def delete(context: Context, fields: Fields) -> Success:
    """``DELETE /agent/{id}``: only allowed without instances."""
    account = context.account
    agent = _agent(context, fields)
    if account.instances_of[agent["id"]]:
        raise invalid_action("The agent has instances.")
    del account.agents[agent["id"]]
    account.free_external_identifier(account.account_id, agent)
    return _details(context, agent)


def _agent(context: Context, fields: Fields) -> JsonObject:
    return find(context.account.agents, fields.value("agent_id"), "The agent")


def _details(context: Context, agent: JsonObject, *, with_counts: bool = False) -> Success:
    shown = _shown(context, agent)
    if with_counts:
        shown["instance_counts"] = _instance_counts(context, agent)
    return details(shown)


def _shown(context: Context, agent: JsonObject) -> JsonObject:
    retired = agent["status"] == "retired"
    actions = {
        "update": True,
        "retire": not retired,
        "reinstate": retired,
        "delete": not context.account.instances_of[agent["id"]],
    }
    return {**agent, "available_actions": actions}


def _instance_counts(context: Context, agent: JsonObject) -> dict[str, int]:
    by_status = Counter(
        instance["status"]
        for instance in context.account.instances.values()
        if instance["agent_id"] == agent["id"]
    )
    counts = {status: by_status[status] for status in _COUNTED}
    total = by_status.total()
    return {**counts, "total": total, "finished": total - counts["pending"] - counts["active"]}
