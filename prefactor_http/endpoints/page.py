"""One page of a list, which leads to all the others (contract §2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from prefactor_http._operation import Operation
from prefactor_http._sender import Sender
from prefactor_http.endpoints._arguments import filter_text, whole_number
from prefactor_http.models.base import ListResponse, PaginationOutput, Sorting

T = TypeVar("T")

_LARGEST_PAGE = 100
_DEFAULT_PAGE = 50


class Page(list[T], Generic[T]):
    """A page: a list of its items; ``async for`` goes on through all pages after it.

    Attributes:
        pagination: Where the page stands, or None where the API does not say.
        sorting: How the list is sorted, or None where the API does not say.
    """

    def __init__(
        self, response: ListResponse[T], fetch: Callable[[int], Awaitable[Page[T]]]
    ) -> None:
        super().__init__(response.summaries)
        self.pagination: PaginationOutput | None = response.pagination
        self.sorting: Sorting | None = response.sorting
        self._fetch = fetch

    @property
    def items(self) -> list[T]:
        """The page's items."""
        return list(self)

    async def next_page(self) -> Page[T] | None:
        """Read the page after this one, at the offset that the API names.

        Returns:
            The page, or None after the last.

        Raises:
            PrefactorHttpError: The call failed.
        """
        if self.pagination is None:
            return None
        offset = self.pagination.next_page_offset
        if offset is None or offset == self.pagination.page_offset:
            return None
        return await self._fetch(offset)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Go through this page's items, then through those of all later pages."""
        page: Page[T] | None = self
        while page is not None:
            for item in page:
                yield item
            page = await page.next_page()


async def list_page(
    sender: Sender,
    operation: Operation[ListResponse[T]],
    filters: Mapping[str, str | None],
    sorting: str | None,
    offset: int | None,
    page_size: int | None,
) -> Page[T]:
    """Read one page.

    Args:
        sender: The client.
        operation: The list.
        filters: Query parameters; None leaves one out.
        sorting: Field to sort by, ``-field`` for descending, or None for the API's order.
        offset: Items to skip, from 0.
        page_size: Items on a page, 1 to 100; 50 by default.

    Returns:
        The page.

    Raises:
        TypeError: A filter or the sorting is no text, or a number is no int.
        ValueError: An offset or a size that cannot be.
    """
    offset = whole_number(offset, "offset", 0, None)
    page_size = whole_number(page_size, "page_size", 1, _LARGEST_PAGE)
    params = {
        name: filter_text(value, name)
        for name, value in {**filters, "sorting": sorting}.items()
        if value is not None
    }
    params["pagination[offset]"] = str(offset or 0)
    params["pagination[page_size]"] = str(page_size or _DEFAULT_PAGE)

    async def fetch(next_offset: int) -> Page[T]:
        return await list_page(sender, operation, filters, sorting, next_offset, page_size)

    return Page(await sender.read(operation, params), fetch)
