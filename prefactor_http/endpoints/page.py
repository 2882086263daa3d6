"""One page of a list, which leads to all the others (contract §2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Generic, NoReturn, Protocol, Self, TypeVar

from prefactor_http._http.codec import GET
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Operation
from prefactor_http.endpoints._arguments import filter_text, whole_number
from prefactor_http.exceptions import PrefactorClientError, PrefactorResponseContractError
from prefactor_http.models.base import ListResponse, PaginationOutput, Sorting

T = TypeVar("T")

_LARGEST_PAGE = 100
_DEFAULT_PAGE = 50
_MAX_OFFSET = 2**63 - 1
_MAX_EMPTY_PAGES = 10


class Page(list[T], Generic[T]):
    """A page: a list of its items; ``async for`` goes on through all pages after it.

    A page can be copied and pickled. One that was unpickled holds its items, but has no client to
    read further pages with.

    Attributes:
        pagination: Where the page stands, or None where the API does not say.
        sorting: How the list is sorted, or None where the API does not say.
    """

    def __init__(
        self, response: ListResponse[T], source: _Source[T], offset: int, empty_pages: int
    ) -> None:
        super().__init__(response.summaries)
        self.pagination: PaginationOutput | None = response.pagination
        self.sorting: Sorting | None = response.sorting
        self._source = source
        self._offset = offset
        self._empty_pages = 0 if self else empty_pages + 1

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
            PrefactorResponseContractError: The offset does not lie after this page's, or there
                were too many empty pages in a row.
            PrefactorClientError: The page was unpickled.
        """
        pagination = self.pagination
        if pagination is None or pagination.next_page_offset is None:
            return None
        offset = pagination.next_page_offset
        is_last = pagination.item_end >= pagination.item_count
        if is_last and offset in {self._offset, pagination.page_offset}:
            return None  # the other way to say that there is no page after this one
        if not self._offset < offset <= _MAX_OFFSET:
            raise self._source.breach(
                f"next_page_offset is {offset} on the page at offset {self._offset}: "
                f"expected more than that, and at most {_MAX_OFFSET}"
            )
        if self._empty_pages >= _MAX_EMPTY_PAGES:
            raise self._source.breach(
                f"{self._empty_pages} pages in a row, up to offset {self._offset}, have no items "
                "but name a next page"
            )
        return await self._source.page_at(offset, self._empty_pages)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Go through this page's items, then through those of all later pages."""
        page: Page[T] | None = self
        while page is not None:
            for item in page:
                yield item
            page = await page.next_page()


class _Source(Protocol[T]):
    """Where a page's successors come from."""

    async def page_at(self, offset: int, empty_pages: int) -> Page[T]: ...

    def breach(self, problem: str) -> PrefactorResponseContractError: ...


class _List(Generic[T]):
    """A list as it was requested, except for the offset."""

    def __init__(
        self,
        executor: Executor,
        operation: Operation[ListResponse[T]],
        filters: Mapping[str, str],
        page_size: int,
    ) -> None:
        self._executor = executor
        self._operation = operation
        self._filters = filters
        self._page_size = page_size

    async def page_at(self, offset: int, empty_pages: int = 0) -> Page[T]:
        params = {
            **self._filters,
            "pagination[offset]": str(offset),
            "pagination[page_size]": str(self._page_size),
        }
        response = await self._executor.read(self._operation, params)
        return Page(response, self, offset, empty_pages)

    def breach(self, problem: str) -> PrefactorResponseContractError:
        return _breach(self._operation.name, self._operation.path_for(None), problem)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a copy in the same process reads on through the same client

    def __reduce__(self) -> tuple[type[_Unpickled], tuple[str, str]]:
        return _Unpickled, (self._operation.name, self._operation.path_for(None))


class _Unpickled:
    """The list of an unpickled page, which has no client."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path

    async def page_at(self, offset: int, _: int) -> NoReturn:
        raise PrefactorClientError(
            f"an unpickled page cannot read on: call {self._name}(offset={offset}) on a client"
        )

    def breach(self, problem: str) -> PrefactorResponseContractError:
        return _breach(self._name, self._path, problem)


def _breach(name: str, path: str, problem: str) -> PrefactorResponseContractError:
    error = PrefactorResponseContractError(f"{name}: {problem}")
    error.method = GET
    error.path = path
    return error


async def list_page(
    executor: Executor,
    operation: Operation[ListResponse[T]],
    filters: Mapping[str, str | None],
    sorting: str | None,
    offset: int | None,
    page_size: int | None,
) -> Page[T]:
    """Read one page.

    Args:
        executor: The client.
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
    pages = _List(executor, operation, params, page_size or _DEFAULT_PAGE)
    return await pages.page_at(offset or 0)
