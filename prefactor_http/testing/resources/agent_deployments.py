"""Deployments: create, read, update, delete (contract §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import JsonObject, Success, details

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_SORTABLE = frozenset({"id"})


def create(context: Context, fields: Fields) -> Success:
    """``POST /agent_deployment``: one per agent and environment."""
    account = context.account
    wrapped = fields.required_within("details")
    agent_id = wrapped.required_text("agent_id")
    environment_id = wrapped.required_text("environment_id")
    deployment_id = account.id_for(wrapped, account.deployments)
    version_id = _version_id(context, wrapped, agent_id)
    if context.deployments.find(agent_id, environment_id) is not None:
        wrapped.refuse("environment_id", "already has a deployment of this agent")
    fields.check()
    find(account.agents, agent_id, "The agent")
    find(account.environments, environment_id, "The environment")
    deployment = context.deployments.create(agent_id, environment_id, deployment_id)
    context.deployments.pin(deployment, version_id)
    return details(deployment)


def show(context: Context, fields: Fields) -> Success:
    """``GET /agent_deployment/{id}``."""
    return details(_deployment(context, fields))


def list_deployments(context: Context, fields: Fields) -> Success:
    """``GET /agent_deployment``."""
    wanted = {"agent_id": fields.text("agent_id")}
    return page(fields, context.account.deployments, wanted=wanted, sortable=_SORTABLE)


def update(context: Context, fields: Fields) -> Success:
    """``PUT /agent_deployment/{id}``: an omitted field is kept, a null clears the pin."""
    deployment = _deployment(context, fields)
    wrapped = fields.required_within("details")
    version_id = _version_id(context, wrapped, deployment["agent_id"])
    fields.check()
    if wrapped.has("current_version_id"):
        context.deployments.pin(deployment, version_id)
    return details(deployment)


def delete(context: Context, fields: Fields) -> Success:
    """``DELETE /agent_deployment/{id}``."""
    deployment = _deployment(context, fields)
    context.deployments.delete(deployment)
    return details(deployment)


def _version_id(context: Context, wrapped: Fields, agent_id: str) -> str | None:
    version_id = wrapped.text("current_version_id")
    if version_id is not None:
        version = context.account.agent_versions.get(version_id)
        if version is None or version["agent_id"] != agent_id:
            wrapped.refuse("current_version_id", "is not a version of this agent")
    return version_id


def _deployment(context: Context, fields: Fields) -> JsonObject:
    deployment_id = fields.value("agent_deployment_id")
    return find(context.account.deployments, deployment_id, "The agent deployment")
