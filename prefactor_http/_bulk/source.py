"""Where a batch takes its items from: a plain or an async source, pulled without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from typing import Any, cast

from prefactor_http._bulk.outcome import Entry
from prefactor_http._http.clock import Clock

MakeEntry = Callable[[int, Any], Entry]

MAX_PULL = 0.05


class Source:
    """Pulls items and makes an `Entry` of each.

    A plain source is pulled for at most `MAX_PULL` seconds at a time, so that other tasks can run;
    one slow ``next()`` blocks longer. An async source is pulled by a task. A source that raises has
    ended: what it gave before is sent first.

    Args:
        items: The source.
        make: Makes an entry of the item at a position.
        clock: The clock of the client.

    Attributes:
        has_ended: Whether there are no more items.

    Raises:
        TypeError: The source is neither an iterable nor an async one.
    """

    def __init__(
        self, items: Iterable[Any] | AsyncIterable[Any], make: MakeEntry, clock: Clock
    ) -> None:
        if not isinstance(items, Iterable | AsyncIterable):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
            name = type(items).__name__
            raise TypeError(f"items must be an iterable or async iterable, not {name}")
        self._items = items
        self._make = make
        self._clock = clock
        self._index = 0
        self._iterator: Iterator[Any] | AsyncIterator[Any] | None = None
        self._task: asyncio.Task[bool] | None = None
        self._ready: list[Entry] = []
        self._news: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.is_async = isinstance(items, AsyncIterable)
        self.has_ended = False

    @property
    def waits(self) -> list[asyncio.Future[Any]]:
        """Futures that are done when an async source has more; empty if it has, or is not asked."""
        asked: list[asyncio.Future[Any] | None] = [self._task, self._news]
        return [future for future in asked if future is not None and not future.done()]

    def pull(self, room: int, until: float) -> list[Entry]:
        """Return the next items; none when there are none, or none yet.

        Args:
            room: Most items.
            until: When to stop pulling, on the clock of the client.
        """
        if self.has_ended:
            return []
        return self._pull_async(room) if self.is_async else self._pull_plain(room, until)

    def _pull_plain(self, room: int, until: float) -> list[Entry]:
        taken: list[Entry] = []
        make, monotonic = self._make, self._clock.monotonic
        index = self._index
        last = index + room
        try:
            if self._iterator is None:
                self._iterator = iter(cast("Iterable[Any]", self._items))
            for item in cast("Iterator[Any]", self._iterator):
                taken.append(make(index, item))
                index += 1
                if index >= last or monotonic() >= until:
                    break
            else:
                self.has_ended = True
        except Exception as exc:  # noqa: BLE001 # the caller's own, raised by `check`
            self._error = exc
            self.has_ended = True
        self._index = index
        return taken

    def _pull_async(self, room: int) -> list[Entry]:
        if self._ready:
            taken = self._ready[:room]
            del self._ready[:room]
            return taken
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            try:
                self.has_ended = task.result()
            # A source may also end because a task of its own was cancelled.
            except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 # as above
                self._error = exc
                self.has_ended = True
        if self.has_ended:
            self._news = None
        else:
            if self._task is None:
                self._task = asyncio.create_task(self._ask(room))
            self._news = asyncio.get_running_loop().create_future()
        return []

    async def _ask(self, room: int) -> bool:
        """Take as many items as there is room for: a task per item would cost more than the item.

        Returns:
            Whether the source has ended.
        """
        if self._iterator is None:
            self._iterator = aiter(cast("AsyncIterable[Any]", self._items))
        iterator = cast("AsyncIterator[Any]", self._iterator)
        until = self._clock.monotonic() + MAX_PULL
        for _ in range(room):
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return True
            self._ready.append(self._make(self._index, item))
            self._index += 1
            if self._news is not None and not self._news.done():
                self._news.set_result(None)
            if self._clock.monotonic() >= until:  # it may never have waited
                await asyncio.sleep(0)
                until = self._clock.monotonic() + MAX_PULL
        return False

    def check(self) -> None:
        """Raise what the source raised."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # or it and this frame would hold each other

    def stop(self) -> None:
        """Pull nothing more."""
        self.has_ended = True
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop, and close the source if it is a generator."""
        self.stop()
        if self._task is not None:
            # What it raises after the batch has ended for another reason is of no interest.
            await asyncio.gather(self._task, return_exceptions=True)
        for source in (self._iterator, self._items):
            if isinstance(source, AsyncGenerator):
                await cast("AsyncGenerator[Any, None]", source).aclose()
            elif isinstance(source, Generator):
                cast("Generator[Any, None, None]", source).close()
