"""Accounts, their risk profiles and alerts (contract §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefactor_http.testing.resources.account import find
from prefactor_http.testing.resources.lists import page
from prefactor_http.testing.resources.response import JsonObject, Success, details

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_SORTABLE = frozenset({"id", "name"})


def show(context: Context, fields: Fields) -> Success:
    """``GET /account/{id}``."""
    return details(_account(context, fields))


def list_accounts(context: Context, fields: Fields) -> Success:
    """``GET /account``."""
    return page(fields, context.account.accounts, wanted={}, sortable=_SORTABLE)


def update(context: Context, fields: Fields) -> Success:
    """``PUT /account/{id}``."""
    account = _account(context, fields)
    wrapped = fields.required_within("details")
    name = wrapped.required_text("name") if wrapped.has("name") else account["name"]
    fields.check()
    account["name"] = name
    context.account.touch(account)
    return details(account)


def list_risk_profiles(context: Context, fields: Fields) -> Success:
    """``GET /risk_profile``."""
    wanted = {"account_id": fields.text("account_id")}
    return page(fields, context.account.risk_profiles, wanted=wanted, sortable=_SORTABLE)


def count_alerts(_context: Context, _fields: Fields) -> Success:
    """``GET /alerts/count``: the local API raises no alerts."""
    return Success(None, {"count": 0})


def _account(context: Context, fields: Fields) -> JsonObject:
    return find(context.account.accounts, fields.value("account_id"), "The account")
