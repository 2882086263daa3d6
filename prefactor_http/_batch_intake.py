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
    Sequence,
)
from itertools import islice
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
        self._asking: asyncio.Task[bool] | None = None
        self._ready: list[Entry] = []
        self._news: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        if isinstance(source, AsyncIterable):
            self._async = aiter(source)
        else:
            self._sync = iter(source)

    @property
    def waits(self) -> list[asyncio.Future[Any]]:
        """What tells of the next items; empty where nothing is asked, or they are there."""
        asked: list[asyncio.Future[Any] | None] = [self._asking, self._news]
        return [future for future in asked if future is not None and not future.done()]

    def pull(self, room: int) -> Sequence[Entry]:
        """Give the next items; none when there are none, or none yet.

        Args:
            room: How many may be pulled before one of them is settled.
        """
        if self._sync is None:
            return self._pull_async(room)
        taken: list[Entry] = []
        try:
            for item in islice(self._sync, room):
                taken.append(item)  # noqa: PERF402 # kept if the next one raises
        except Exception as exc:  # noqa: BLE001 # the caller's own, raised when all else is done
            self._error = exc
            self._sync = None
        else:
            if len(taken) < room:
                self._sync = None
        return taken

    def _pull_async(self, room: int) -> Sequence[Entry]:
        if self._ready:
            taken = self._ready[:room]
            del self._ready[:room]
            return taken
        if self._asking is not None and self._asking.done():
            task, self._asking = self._asking, None
            try:
                has_ended = task.result()
            # As above; a source may also end because a task of its own was cancelled.
            except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001
                self._error = exc
                has_ended = True
            if has_ended:
                self._async = self._news = None
        if self._async is not None:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask(self._async, room))
            self._news = asyncio.get_running_loop().create_future()
        return ()

    async def _ask(self, source: AsyncIterator[Entry], room: int) -> bool:
        """Take as many as there is room for, as a task an item would cost more than the item."""
        for _ in range(room):
            item = await anext(source, None)
            if item is None:
                return True
            self._ready.append(item)
            if self._news is not None and not self._news.done():
                self._news.set_result(None)
        return False

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
        if self._asking is not None:
            # What it raised after the batch had ended for another reason is nobody's concern.
            await asyncio.gather(self._asking, return_exceptions=True)
        source: object = self._async or self._sync
        if isinstance(source, AsyncGenerator):
            await cast("AsyncGenerator[Any, None]", source).aclose()
        elif isinstance(source, Generator):
            cast("Generator[Any, None, None]", source).close()
