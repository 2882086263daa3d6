"""API tokens: create, suspend, activate, revoke, delete (contract §12)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.fields import as_text
from prefactor_http.testing.resources.response import (
    JsonObject,
    Success,
    details,
    invalid_action,
)

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_SCOPES = frozenset({"account", "agent_deployment"})


def create(context: Context, fields: Fields) -> Success:
    """``POST /api_token``: the only response that contains the secret."""
    account = context.account
    wrapped = fields.required_within("details")
    scope = wrapped.required_choice("token_scope", _SCOPES)
    account_id = wrapped.text("account_id") or account.account_id
    agent_id, environment_id = wrapped.text("agent_id"), wrapped.text("environment_id")
    expires_at = wrapped.moment("expires_at")
    if scope == "agent_deployment":
        for name in ("agent_id", "environment_id"):
            wrapped.required_text(name)
    fields.check()
    find(account.accounts, account_id, "The account")
    deployment = None
    if scope == "agent_deployment":
        find(account.agents, agent_id, "The agent")
        find(account.environments, environment_id, "The environment")
        deployment = context.deployments.find_or_create(str(agent_id), str(environment_id))
    row = account.stamped(
        {
            "type": "api_token",
            "id": account.new_id(),
            "status": "active",
            "token_scope": scope,
            "account_id": account_id,
            "agent_id": agent_id,
            "environment_id": environment_id,
            "expires_at": None if expires_at is None else as_text(expires_at),
            "last_used_at": None,
        }
    )
    account.api_tokens[row["id"]] = row
    secret = context.tokens.add(account.new_secret(), deployment, row)
    return details(row, {"token": secret})


def suspend(context: Context, fields: Fields) -> Success:
    """``POST /api_token/{id}/suspend``."""
    return _move(context, fields, {"active"}, "suspended")


def activate(context: Context, fields: Fields) -> Success:
    """``POST /api_token/{id}/activate``."""
    return _move(context, fields, {"suspended"}, "active")


def revoke(context: Context, fields: Fields) -> Success:
    """``POST /api_token/{id}/revoke``."""
    return _move(context, fields, {"active", "suspended"}, "revoked")


def delete(context: Context, fields: Fields) -> Success:
    """``DELETE /api_token/{id}``: the token must not be active."""
    row = _row(context, fields)
    if row["status"] == "active":
        raise invalid_action("The token is active; suspend or revoke it first.")
    del context.account.api_tokens[row["id"]]
    context.tokens.remove(context.tokens.of_row(row))
    return details(row)


def _move(context: Context, fields: Fields, allowed: Collection[str], status: str) -> Success:
    row = _row(context, fields)
    if row["status"] not in allowed:
        raise invalid_action(f"The token is {row['status']}.")
    row["status"] = status
    context.tokens.of_row(row).active = status == "active"
    context.account.touch(row)
    return details(row)


def _row(context: Context, fields: Fields) -> JsonObject:
    return find(context.account.api_tokens, fields.value("api_token_id"), "The API token")
