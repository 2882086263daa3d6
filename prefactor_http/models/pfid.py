"""Generated ids (contract §4)."""

from msgspec import UNSET, Struct, UnsetType


class GeneratePfidsRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of a generate.

    Attributes:
        count: Number of ids.
        account_id: Account of the ids.
    """

    count: int
    account_id: str | UnsetType = UNSET


class GeneratedPfids(Struct, frozen=True, kw_only=True):
    """Generated ids.

    Attributes:
        pfids: The ids.
    """

    pfids: list[str]


__all__ = ["GeneratePfidsRequest", "GeneratedPfids"]
