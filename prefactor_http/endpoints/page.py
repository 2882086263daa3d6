"""Pages of lists (contract §2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Mapping
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from prefactor_http._http.codec import GET
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Operation
from prefactor_http._values.numbers import optional_integer
from prefactor_http.endpoints._arguments import filter_text
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
        pagination: Position of the page. A page whose response does not contain it is the last one.
        sorting: Sort order; None if the response does not contain it.
    """

    def __init__(
        self,
        response: ListResponse[T],
        source: _Source[T],
        offset: int,
        empty_pages: int,
        page_size: int,
    ) -> None:
        super().__init__(response.summaries)
        self.pagination: PaginationOutput = response.pagination or _last_page(
            offset, len(self), page_size
        )
        self.sorting: Sorting | None = response.sorting
        self._source = source
        self._offset = offset
        self._empty_pages = 0 if self else empty_pages + 1

    @property
    def items(self) -> list[T]:
        """The items of this page."""
        return list(self)

    @property
    def has_next_page(self) -> bool:
        """Whether the API says that there is a next page."""
        return self._next_offset is not None

    @property
    def _next_offset(self) -> int | None:
        pagination = self.pagination
        offset = pagination.next_page_offset
        is_last = pagination.item_end >= pagination.item_count
        if is_last and offset in {self._offset, pagination.page_offset}:
            return None  # another way to say that this is the last page
        return offset

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
        offset = self._next_offset
        if offset is None:
            return None
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

    def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over the items of this page, then of all later pages."""
        return _items_from(self)


class ListCall(Coroutine[Any, Any, Page[T]], Generic[T]):
    """A list call that has not been made yet: await it for a page, or iterate over all items.

    ``page = await client.agents.list()`` reads the first page. ``async for agent in
    client.agents.list()`` reads all pages, one at a time. Each await and each iteration reads the
    list again. Nothing is sent, and no warning is given, if the call is never awaited.

    It is a `collections.abc.Coroutine`, so `asyncio.create_task` and `asyncio.wait_for` accept it.
    """

    def __init__(self, pages: _List[T], offset: int) -> None:
        self._pages = pages
        self._offset = offset
        self._running: Coroutine[Any, Any, Page[T]] | None = None  # driven by `send` and `throw`

    def __await__(self) -> Generator[Any, Any, Page[T]]:
        return self._pages.page_at(self._offset).__await__()

    def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over the items of all pages."""
        return _items_from(self)

    def send(self, value: Any) -> Any:
        """Continue the call, as a coroutine does. Use ``await`` instead."""
        return self._coroutine.send(value)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        """Raise an exception in the call, as in a coroutine."""
        error = val if isinstance(val, BaseException) else typ
        error = error if isinstance(error, BaseException) else error()
        return self._coroutine.throw(error if tb is None else error.with_traceback(tb))

    def close(self) -> None:
        """Close the call, as a coroutine. A call that has not started is not affected."""
        if self._running is not None:
            self._running.close()

    @property
    def _coroutine(self) -> Coroutine[Any, Any, Page[T]]:
        if self._running is None:
            self._running = self._pages.page_at(self._offset)
        return self._running


async def _items_from(start: Page[T] | ListCall[T]) -> AsyncIterator[T]:
    page: Page[T] | None = start if isinstance(start, Page) else await start
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
        return Page(response, self, offset, empty_pages, self._page_size)

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


def _last_page(offset: int, length: int, page_size: int) -> PaginationOutput:
    index = offset // page_size + 1
    return PaginationOutput(
        item_count=offset + length,
        item_start=offset + 1,
        item_end=offset + length,
        page_count=index,
        page_index=index,
        page_offset=offset,
        page_size=page_size,
    )


def _contract_error(name: str, path: str, problem: str) -> PrefactorResponseContractError:
    error = PrefactorResponseContractError(f"{name}: {problem}")
    error.method = GET
    error.path = path
    return error


def list_call(
    executor: Executor,
    operation: Operation[ListResponse[T]],
    filters: Mapping[str, str | None],
    sorting: str | None,
    offset: int | None,
    page_size: int | None,
) -> ListCall[T]:
    """Prepare a call that lists resources.

    Args:
        executor: Executor of the calls.
        operation: The list operation.
        filters: Query parameters. Those that are None are not sent.
        sorting: Field to sort by, ``-field`` for descending; None for the API's default.
        offset: Number of items to skip; 0 by default.
        page_size: Items per page, 1 to 100; 50 by default.

    Returns:
        The call.

    Raises:
        TypeError: A filter or the sorting is not text, or a number is not an int.
        ValueError: The offset or the page size is out of range.
    """
    offset = optional_integer(offset, "offset", 0)
    page_size = optional_integer(page_size, "page_size", 1, _MAX_PAGE_SIZE)
    params = {
        name: filter_text(value, name)
        for name, value in {**filters, "sorting": sorting}.items()
        if value is not None
    }
    pages = _List(executor, operation, params, page_size or _DEFAULT_PAGE_SIZE)
    return ListCall(pages, offset or 0)


__all__ = ["ListCall", "Page"]
