"""Risk profiles of agents (contract §12)."""

from msgspec import Struct

from prefactor_http.models._datetime import datetime


class RiskProfile(Struct, frozen=True, kw_only=True, gc=False):
    """A risk profile, which an agent refers to by its id.

    Attributes:
        id: Id of the risk profile.
        type: ``risk_profile``; None if the response does not contain it.
        account_id: Account of the risk profile.
        name: Display name.
        description: Description.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    id: str
    type: str | None = None
    account_id: str | None = None
    name: str | None = None
    description: str | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


__all__ = ["RiskProfile"]
