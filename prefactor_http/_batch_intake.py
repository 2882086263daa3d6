"""Where a batch takes its items from, without ever waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from typing import Any, cast

from prefactor_http._batch_outcome import Entry

Source = Iterable[Entry] | AsyncIterable[Entry]


class Intake:
    """Pulls from a source, without waiting: an async one is asked by a task.

    A source that raises has ended; what it gave before is worth sending all the same.
    """

    def __init__(self, source: Source) -> None:
        self._sync: Iterator[Entry] | None = None
        self._async: AsyncIterator[Entry] | None = None
        self._asking: asyncio.Task[Entry | None] | None = None
        self._error: Exception | None = None
        if isinstance(source, AsyncIterable):
            self._async = aiter(source)
        else:
            self._sync = iter(source)

    @property
    def waits(self) -> list[asyncio.Task[Any]]:
        """The task that asks, if one does and has no answer yet."""
        return [] if self._asking is None or self._asking.done() else [self._asking]

    def pull(self) -> Entry | None:
        """Give the next item; None when there is none, or none yet."""
        try:
            item = self._pull()
        except Exception as exc:  # noqa: BLE001 # the caller's own, raised when all else is done
            self._error = exc
            self._sync = self._async = None
            return None
        return item

    def _pull(self) -> Entry | None:
        if self._sync is not None:
            item = next(self._sync, None)
            if item is None:
                self._sync = None
            return item
        if self._asking is not None and self._asking.done():
            task, self._asking = self._asking, None
            item = task.result()
            if item is not None:
                return item
            self._async = None
        if self._async is not None and self._asking is None:
            self._asking = asyncio.ensure_future(_next(self._async))
        return None

    def check(self) -> None:
        """Raise what the source raised."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # or it and this frame would hold each other

    async def close(self) -> None:
        """Close the source."""
        source: object = self._async or self._sync
        if isinstance(source, AsyncGenerator):
            await cast("AsyncGenerator[Any, None]", source).aclose()
        elif isinstance(source, Generator):
            cast("Generator[Any, None, None]", source).close()


async def _next(source: AsyncIterator[Entry]) -> Entry | None:
    return await anext(source, None)
