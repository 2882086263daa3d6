"""Envelopes of responses and requests (contract §2)."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from msgspec import UNSET, Struct, UnsetType

T = TypeVar("T")


class Control(Struct, frozen=True, kw_only=True):
    """The control signal, which tells an agent to stop (contract §8.1).

    Attributes:
        terminate: Whether the instance was terminated, so that the agent should stop.
        reason: Reason of the termination, if one was given.
    """

    terminate: bool = False
    reason: str | None = None


class ApiResponse(Struct, Generic[T], frozen=True, kw_only=True):
    """Response with one resource.

    Attributes:
        status: ``success``.
        details: The resource.
        control: Control signal; None if the response does not contain one.
    """

    status: str = "success"
    details: T
    control: Control | None = None

    @property
    def result(self) -> T:
        """The resource."""
        return self.details


class PaginationOutput(Struct, frozen=True, kw_only=True, gc=False):
    """Position of a page in its list.

    Attributes:
        item_count: Number of items in the list.
        item_start: Position of the first item of the page, from 1.
        item_end: Position of the last item of the page, from 1.
        page_count: Number of pages in the list.
        page_index: Position of the page, from 1.
        page_offset: Number of items before the page.
        page_size: Maximum number of items per page.
        next_page_offset: Offset of the next page; None on the last page.
        previous_page_offset: Offset of the previous page; None on the first page.
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
    """Sort order of a list.

    Attributes:
        field: Field that the list is sorted by.
        direction: ``asc`` or ``desc``.
    """

    field: str
    direction: str


class ListResponse(Struct, Generic[T], frozen=True, kw_only=True):
    """Response with one page of a list. It can be used like a sequence of its items.

    Attributes:
        status: ``success``.
        summaries: Items of the page.
        pagination: Position of the page; None if the response does not contain it.
        sorting: Sort order; None if the response does not contain it.
    """

    status: str = "success"
    summaries: list[T]
    pagination: PaginationOutput | None = None
    sorting: Sorting | None = None

    @property
    def items(self) -> list[T]:
        """The items of the page."""
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
    """Error response (contract §3).

    Attributes:
        status: ``error``.
        code: Error code, such as ``not_found``; empty if the response does not contain one.
        message: Error message; None if the response does not contain one.
    """

    status: str = "error"
    code: str = ""
    message: str | None = None


class DetailedApiError(ApiError, frozen=True, kw_only=True):
    """Error response with the problems of each field.

    Attributes:
        errors: Problems by field, as the API sent them.
    """

    errors: Any = None


class ActionRequest(Struct, frozen=True, kw_only=True, gc=False):
    """Body of an action without fields of its own.

    Attributes:
        idempotency_key: Idempotency key of the call; left out if the API documents none.
    """

    idempotency_key: str | UnsetType = UNSET


class DetailsRequest(Struct, Generic[T], frozen=True, kw_only=True):
    """Body of a create or update: the key is beside the fields (contract §2, §10).

    Attributes:
        details: Fields of the resource.
        idempotency_key: Idempotency key of the call; left out if the API documents none.
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
