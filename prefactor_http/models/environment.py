"""Environments that agents run in (contract §12)."""

from msgspec import Struct

from prefactor_http.models._datetime import datetime


class Environment(Struct, frozen=True, kw_only=True, gc=False):
    """An environment of an account.

    Attributes:
        id: Its id.
        name: Its name for people.
        type: ``environment``; None where the reply does not say.
        account_id: Account that it belongs to.
        purpose: ``development``, ``staging``, ``testing``, ``production`` or one that the API
            learned later.
        description: What it is for.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    id: str
    name: str
    type: str | None = None
    account_id: str | None = None
    purpose: str | None = None
    description: str | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


__all__ = ["Environment"]
