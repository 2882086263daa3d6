"""Where a batch takes its items from, without ever waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, cast

from prefactor_http._batch_outcome import Entry, Outcome

Source = Iterable[Entry | Outcome] | AsyncIterable[Entry | Outcome]


class Intake:
    """Pulls from a source, without waiting: an async one is asked by a task."""

    def __init__(self, source: Source) -> None:
        self._sync: Iterator[Entry | Outcome] | None = None
        self._async: AsyncIterator[Entry | Outcome] | None = None
        self._asking: asyncio.Task[Entry | Outcome | None] | None = None
        if isinstance(source, AsyncIterable):
            self._async = aiter(source)
        else:
            self._sync = iter(source)

    @property
    def waits(self) -> list[asyncio.Task[Any]]:
        """The task that asks, if one does."""
        return [] if self._asking is None else [self._asking]

    def pull(self) -> Entry | Outcome | None:
        """Give the next item; None when there is none, or none yet."""
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

    async def close(self) -> None:
        """Close the source, as a loop that is left closes it."""
        if isinstance(self._async, AsyncGenerator):
            await cast("AsyncGenerator[Any, None]", self._async).aclose()


async def _next(source: AsyncIterator[Entry | Outcome]) -> Entry | Outcome | None:
    return await anext(source, None)
