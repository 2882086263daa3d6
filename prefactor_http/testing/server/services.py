"""Calls that belong to no resource: ping and id generation (contract §4, §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from prefactor_http.testing.resources.response import Success, encode

if TYPE_CHECKING:
    from prefactor_http.testing.resources.action import Context
    from prefactor_http.testing.resources.fields import Fields

_MAX_IDS = 100


def ping(_context: Context, _fields: Fields) -> Success:
    """``GET /ping``: confirms that the token is valid."""
    return Success(None)


def generate_ids(context: Context, fields: Fields) -> Success:
    """``POST /pfid/generate``."""
    count = fields.integer("count", default=1, at_least=1, at_most=_MAX_IDS)
    account_id = fields.text("account_id")
    if account_id not in (None, context.account.account_id):
        fields.refuse("account_id", "is another account")
    fields.check()
    pfids = [context.account.new_id() for _ in range(count)]
    return Success(msgspec.Raw(encode({"pfids": pfids})))
