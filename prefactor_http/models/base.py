"""Envelopes that every reply comes in, and those that some requests go out in (contract §2)."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from msgspec import UNSET, Struct, UnsetType

T = TypeVar("T")


class Control(Struct, frozen=True, kw_only=True):
    """What the API wants of the agent, sent beside a span's details (contract §8.1).

    Attributes:
        terminate: True when the instance was terminated and the agent should stop.
        reason: Why, where a reason was given.
    """

    terminate: bool = False
    reason: str | None = None


class ApiResponse(Struct, Generic[T], frozen=True, kw_only=True):
    """Reply that holds one resource.

    Attributes:
        status: ``success``.
        details: The resource.
        control: Control signal; None where the reply had none.
    """

    status: str = "success"
    details: T
    control: Control | None = None

    @property
    def result(self) -> T:
        """The resource."""
        return self.details


class PaginationOutput(Struct, frozen=True, kw_only=True, gc=False):
    """Where a page stands in its list.

    Attributes:
        item_count: Items in the whole list.
        item_start: Position of the page's first item, from one.
        item_end: Position of its last item, from one.
        page_count: Pages in the whole list.
        page_index: Position of the page, from one.
        page_offset: Items before the page.
        page_size: Items on a full page.
        next_page_offset: ``offset`` of the next page; None on the last one.
        previous_page_offset: ``offset`` of the previous page; None on the first one.
    """

    item_count: int
    item_start: int
    item_end: int
    page_count: int
    page_index: int
    page_offset: int
    page_size: int
    next_page_offset: int | None = None
    previous_page_offset: int | None = None


class Sorting(Struct, frozen=True, kw_only=True, gc=False):
    """How a list is sorted.

    Attributes:
        field: Field that decides the order.
        direction: ``asc`` or ``desc``.
    """

    field: str
    direction: str


class ListResponse(Struct, Generic[T], frozen=True, kw_only=True):
    """Reply that holds one page of a list; it can be used like a sequence of its items.

    Attributes:
        status: ``success``.
        summaries: The page's items, as the API calls them.
        pagination: Where the page stands in the list; None where the reply does not say.
        sorting: How the list is sorted; None where the reply does not say.
    """

    status: str = "success"
    summaries: list[T]
    pagination: PaginationOutput | None = None
    sorting: Sorting | None = None

    @property
    def items(self) -> list[T]:
        """The page's items."""
        return self.summaries

    @property
    def result(self) -> "ListResponse[T]":
        """The page itself."""
        return self

    def __iter__(self) -> Iterator[T]:
        return iter(self.summaries)

    def __len__(self) -> int:
        return len(self.summaries)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.summaries[index]


class ApiError(Struct, frozen=True, kw_only=True):
    """Reply that says what went wrong (contract §3).

    Attributes:
        status: ``error``.
        code: The API's code, such as ``not_found``; empty where the reply has none.
        message: What happened, for a person; None where the reply has none.
    """

    status: str = "error"
    code: str = ""
    message: str | None = None


class DetailedApiError(ApiError, frozen=True, kw_only=True):
    """Reply that also says which fields were wrong.

    Attributes:
        errors: Problems by field, in whatever shape the API sent them.
    """

    errors: Any = None


class ActionRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of an action that needs nothing but its key.

    Attributes:
        idempotency_key: The call's key.
    """

    idempotency_key: str | UnsetType = UNSET


class DetailsRequest(Struct, Generic[T], frozen=True, kw_only=True):
    """Body of a create or update: the key stands beside the fields (contract §2, §10).

    Attributes:
        details: The resource's fields.
        idempotency_key: The call's key.
    """

    details: T
    idempotency_key: str | UnsetType = UNSET


__all__ = [
    "ActionRequest",
    "ApiError",
    "ApiResponse",
    "Control",
    "DetailedApiError",
    "DetailsRequest",
    "ListResponse",
    "PaginationOutput",
    "Sorting",
]
