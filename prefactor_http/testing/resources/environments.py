"""Environments: create, read, update (contract §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import Account, find
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import JsonObject, Success, details, invalid_action

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_PURPOSES = frozenset({"development", "staging", "testing", "production"})
_SORTABLE = frozenset({"id", "name"})


def add_environment(
    account: Account, name: str, *, purpose: str = "testing", description: str | None = None
) -> JsonObject:
    """Create an environment and return its details."""
    environment = account.stamped(
        {
            "type": "environment",
            "id": account.new_id(),
            "account_id": account.account_id,
            "name": name,
            "purpose": purpose,
            "description": description,
        }
    )
    account.environments[environment["id"]] = environment
    return environment


def create(context: Context, fields: Fields) -> Success:
    """``POST /environment``."""
    wrapped = fields.required_within("details")
    account_id = wrapped.required_text("account_id")
    name = wrapped.required_text("name")
    purpose = wrapped.choice("purpose", _PURPOSES)
    description = wrapped.text("description")
    fields.check()
    find(context.account.accounts, account_id, "The account")
    environment = add_environment(
        context.account, name, purpose=purpose or "testing", description=description
    )
    return details(environment)


def update(context: Context, fields: Fields) -> Success:
    """``PUT /environment/{id}``."""
    environment = _environment(context, fields)
    wrapped = fields.required_within("details")
    changes: JsonObject = {}
    if wrapped.has("name"):
        changes["name"] = wrapped.required_text("name")
    if wrapped.has("purpose"):
        changes["purpose"] = wrapped.required_choice("purpose", _PURPOSES)
    if wrapped.has("description"):
        changes["description"] = wrapped.text("description")
    fields.check()
    environment.update(changes)
    context.account.touch(environment)
    return details(environment)


def delete(context: Context, fields: Fields) -> Success:
    """``DELETE /environment/{id}``: possible while no agent is deployed there."""
    environment = _environment(context, fields)
    deployments = context.account.deployments.values()
    if any(row["environment_id"] == environment["id"] for row in deployments):
        raise invalid_action("The environment has deployments.")
    del context.account.environments[environment["id"]]
    return details(environment)


def show(context: Context, fields: Fields) -> Success:
    """``GET /environment/{id}``."""
    return details(_environment(context, fields))


def list_environments(context: Context, fields: Fields) -> Success:
    """``GET /environment``."""
    wanted = {"account_id": fields.text("account_id")}
    return page(fields, context.account.environments, wanted=wanted, sortable=_SORTABLE)


def _environment(context: Context, fields: Fields) -> JsonObject:
    return find(context.account.environments, fields.value("environment_id"), "The environment")
