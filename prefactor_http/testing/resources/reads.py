"""What else a registering client may look at: account, versions and deployments (contract §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import Success, details

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_SORTABLE = frozenset({"id", "name"})
_DEPLOYMENT_SORTABLE = frozenset({"id"})
_VERSION_SORTABLE = frozenset({"id", "external_identifier"})


def show_account(context: Context, fields: Fields) -> Success:
    """``GET /account/{id}``."""
    return details(find(context.account.accounts, fields.value("account_id"), "The account"))


def list_accounts(context: Context, fields: Fields) -> Success:
    """``GET /account``."""
    return page(fields, context.account.accounts, wanted={}, sortable=_SORTABLE)


def show_agent_version(context: Context, fields: Fields) -> Success:
    """``GET /agent_version/{id}``."""
    versions = context.account.agent_versions
    return details(find(versions, fields.value("agent_version_id"), "The agent version"))


def list_agent_versions(context: Context, fields: Fields) -> Success:
    """``GET /agent_version``."""
    wanted = {"agent_id": fields.text("agent_id")}
    return page(fields, context.account.agent_versions, wanted=wanted, sortable=_VERSION_SORTABLE)


def show_schema_version(context: Context, fields: Fields) -> Success:
    """``GET /agent_schema_version/{id}``."""
    versions = context.account.schema_versions
    return details(find(versions, fields.value("agent_schema_version_id"), "The schema version"))


def list_schema_versions(context: Context, fields: Fields) -> Success:
    """``GET /agent_schema_version``."""
    wanted = {"agent_id": fields.text("agent_id")}
    return page(fields, context.account.schema_versions, wanted=wanted, sortable=_VERSION_SORTABLE)


def show_deployment(context: Context, fields: Fields) -> Success:
    """``GET /agent_deployment/{id}``."""
    deployments = context.account.deployments
    return details(find(deployments, fields.value("agent_deployment_id"), "The agent deployment"))


def list_deployments(context: Context, fields: Fields) -> Success:
    """``GET /agent_deployment``."""
    wanted = {"agent_id": fields.text("agent_id")}
    return page(fields, context.account.deployments, wanted=wanted, sortable=_DEPLOYMENT_SORTABLE)
