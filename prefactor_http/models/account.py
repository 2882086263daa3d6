"""Accounts (contract §12)."""

from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType, ValidationError

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime
from prefactor_http.models.base import ListResponse, PaginationOutput, Sorting


class Account(Struct, frozen=True, kw_only=True, gc=False):
    """An account.

    Attributes:
        id: Id of the account.
        type: ``account``; None if the response does not contain it.
        name: Display name.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    id: str
    type: str | None = None
    name: str | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


class AccountForUpdate(CheckedModel, frozen=True, kw_only=True):
    """Changes to an account. Fields that are left out keep their value.

    Attributes:
        name: Display name.

    Raises:
        ValueError: A field has the wrong type or is blank.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("name",)

    name: str | UnsetType = UNSET


class AccountListResponse(Struct, frozen=True, kw_only=True):
    """Response of the account list: a list, or the only account as ``details``.

    Attributes:
        status: ``success``.
        summaries: The accounts.
        details: The only account, which some servers return instead of a list.
        pagination: Position of the page; None if the response does not contain it.
        sorting: Sort order; None if the response does not contain it.
    """

    status: str = "success"
    summaries: list[Account] | None = None
    details: Account | None = None
    pagination: PaginationOutput | None = None
    sorting: Sorting | None = None

    @property
    def result(self) -> ListResponse[Account]:
        """The accounts as a list."""
        accounts = self.summaries
        if accounts is None:
            if self.details is None:
                raise ValidationError("Object missing required field `summaries`")
            accounts = [self.details]
        return ListResponse(
            status=self.status,
            summaries=accounts,
            pagination=self.pagination,
            sorting=self.sorting,
        )


__all__ = ["Account", "AccountForUpdate", "AccountListResponse"]
