"""Pages of lists (contract §2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Generic, NoReturn, Protocol, Self, TypeVar

from prefactor_http._http.codec import GET
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Operation
from prefactor_http.endpoints._arguments import filter_text, integer
from prefactor_http.exceptions import PrefactorClientError, PrefactorResponseContractError
from prefactor_http.models.base import ListResponse, PaginationOutput, Sorting

T = TypeVar("T")

_MAX_PAGE_SIZE = 100
_DEFAULT_PAGE_SIZE = 50
_MAX_OFFSET = 2**63 - 1
_MAX_EMPTY_PAGES = 10


class Page(list[T], Generic[T]):
    """One page of a list. ``async for`` continues with all later pages.

    A page is a list of its items, and can be copied and pickled. An unpickled page has no client
    and cannot read later pages.

    Attributes:
        pagination: Position of the page; None if the response does not contain it.
        sorting: Sort order; None if the response does not contain it.
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
        """The items of this page."""
        return list(self)

    async def next_page(self) -> Page[T] | None:
        """Read the next page, at the offset that the API returned.

        Returns:
            The next page, or None after the last one.

        Raises:
            PrefactorHttpError: The call failed.
            PrefactorResponseContractError: The next offset is not greater than the current one, or
                10 pages in a row were empty.
            PrefactorClientError: The page was unpickled.
        """
        pagination = self.pagination
        if pagination is None or pagination.next_page_offset is None:
            return None
        offset = pagination.next_page_offset
        is_last = pagination.item_end >= pagination.item_count
        if is_last and offset in {self._offset, pagination.page_offset}:
            return None  # another way to say that this is the last page
        if not self._offset < offset <= _MAX_OFFSET:
            raise self._source.contract_error(
                f"next_page_offset is {offset} on the page at offset {self._offset}: "
                f"expected a greater offset, at most {_MAX_OFFSET}"
            )
        if self._empty_pages >= _MAX_EMPTY_PAGES:
            raise self._source.contract_error(
                f"{self._empty_pages} pages in a row, up to offset {self._offset}, are empty but "
                "have a next page"
            )
        return await self._source.page_at(offset, self._empty_pages)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over the items of this page, then of all later pages."""
        page: Page[T] | None = self
        while page is not None:
            for item in page:
                yield item
            page = await page.next_page()


class _Source(Protocol[T]):
    """Reads the later pages of a page."""

    async def page_at(self, offset: int, empty_pages: int) -> Page[T]: ...

    def contract_error(self, problem: str) -> PrefactorResponseContractError: ...


class _List(Generic[T]):
    """A list call without its offset."""

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

    def contract_error(self, problem: str) -> PrefactorResponseContractError:
        return _contract_error(self._operation.name, self._operation.path_for(None), problem)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a copy in the same process uses the same client

    def __reduce__(self) -> tuple[type[_Unpickled], tuple[str, str]]:
        return _Unpickled, (self._operation.name, self._operation.path_for(None))


class _Unpickled:
    """The list call of an unpickled page, which has no client."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path

    async def page_at(self, offset: int, _: int) -> NoReturn:
        raise PrefactorClientError(
            f"an unpickled page cannot read the next one: call {self._name}(offset={offset}) on a "
            "client"
        )

    def contract_error(self, problem: str) -> PrefactorResponseContractError:
        return _contract_error(self._name, self._path, problem)


def _contract_error(name: str, path: str, problem: str) -> PrefactorResponseContractError:
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
    """Read one page of a list.

    Args:
        executor: Executor of the calls.
        operation: The list operation.
        filters: Query parameters. Those that are None are not sent.
        sorting: Field to sort by, ``-field`` for descending; None for the API's default.
        offset: Number of items to skip; 0 by default.
        page_size: Items per page, 1 to 100; 50 by default.

    Returns:
        The page.

    Raises:
        TypeError: A filter or the sorting is not text, or a number is not an int.
        ValueError: The offset or the page size is out of range.
    """
    offset = integer(offset, "offset", 0, None)
    page_size = integer(page_size, "page_size", 1, _MAX_PAGE_SIZE)
    params = {
        name: filter_text(value, name)
        for name, value in {**filters, "sorting": sorting}.items()
        if value is not None
    }
    pages = _List(executor, operation, params, page_size or _DEFAULT_PAGE_SIZE)
    return await pages.page_at(offset or 0)
