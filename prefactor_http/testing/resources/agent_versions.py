"""Agent versions and schema versions: create and read them (contract §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import Success, details
from prefactor_http.testing.resources.schemas import check_agent_version, check_schema

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_SORTABLE = frozenset({"id", "external_identifier"})


def create(context: Context, fields: Fields) -> Success:
    """``POST /agent_version``."""
    wrapped = fields.required_within("details")
    agent_id = wrapped.required_text("agent_id")
    wrapped.required_text("external_identifier")
    check_agent_version(wrapped)
    fields.check()
    find(context.account.agents, agent_id, "The agent")
    return details(context.versions.add(agent_id, fields.required_mapping("details")))


def show(context: Context, fields: Fields) -> Success:
    """``GET /agent_version/{id}``."""
    versions = context.account.agent_versions
    return details(find(versions, fields.value("agent_version_id"), "The agent version"))


def list_versions(context: Context, fields: Fields) -> Success:
    """``GET /agent_version``."""
    wanted = {"agent_id": fields.text("agent_id")}
    return page(fields, context.account.agent_versions, wanted=wanted, sortable=_SORTABLE)


def create_schema(context: Context, fields: Fields) -> Success:
    """``POST /agent_schema_version``."""
    wrapped = fields.required_within("details")
    agent_id = wrapped.required_text("agent_id")
    wrapped.required_text("external_identifier")
    check_schema(wrapped)
    fields.check()
    find(context.account.agents, agent_id, "The agent")
    schema = {
        name: value
        for name, value in fields.required_mapping("details").items()
        if name != "agent_id"
    }
    return details(context.versions.find_or_create_schema(agent_id, schema))


def show_schema(context: Context, fields: Fields) -> Success:
    """``GET /agent_schema_version/{id}``."""
    versions = context.account.schema_versions
    return details(find(versions, fields.value("agent_schema_version_id"), "The schema version"))


def list_schemas(context: Context, fields: Fields) -> Success:
    """``GET /agent_schema_version``."""
    wanted = {"agent_id": fields.text("agent_id")}
    return page(fields, context.account.schema_versions, wanted=wanted, sortable=_SORTABLE)
