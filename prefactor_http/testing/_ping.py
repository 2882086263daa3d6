"""The call that proves a token (contract §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefactor_http.testing._reply import Success

if TYPE_CHECKING:
    from prefactor_http.testing._action import Context
    from prefactor_http.testing._fields import Fields


def ping(_context: Context, _fields: Fields) -> Success:
    """``GET /ping``."""
    return Success(None)
