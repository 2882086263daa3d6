"""The account that a token belongs to (contract §12)."""

from msgspec import Struct

from prefactor_http.models._datetime import datetime


class Account(Struct, frozen=True, kw_only=True, gc=False):
    """An account.

    Attributes:
        id: Its id.
        type: ``account``; None where the reply does not say.
        name: Its name for people.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    id: str
    type: str | None = None
    name: str | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


__all__ = ["Account"]
