"""The source of a batch's items: a plain or an async iterable, pulled without waiting."""

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

from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._http.clock import Clock

EncodeItem = Callable[[int, Any], BatchItem]

MAX_PULL_SECONDS = 0.05


class Source:
    """Pulls items and encodes each as a `BatchItem`.

    A plain source is pulled for at most `MAX_PULL_SECONDS` at a time, so that other tasks can run;
    one slow ``next()`` blocks longer. An async source is pulled by a task. A source that raises has
    ended: the items before the exception are sent, then the exception is raised.

    Args:
        items: The source.
        encode: Encodes the item at a position.
        clock: The clock of the client.
        name: Name of the source in error messages.

    Attributes:
        has_ended: Whether there are no more items.

    Raises:
        TypeError: The source is neither an iterable nor an async one.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        encode: EncodeItem,
        clock: Clock,
        name: str,
    ) -> None:
        if not isinstance(items, Iterable | AsyncIterable):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
            kind = type(items).__name__
            raise TypeError(f"{name} must be an iterable or async iterable, not {kind}")
        self._items = items
        self._encode = encode
        self._clock = clock
        self._index = 0
        self._iterator: Iterator[Any] | AsyncIterator[Any] | None = None
        self._task: asyncio.Task[bool] | None = None
        self._ready: list[BatchItem] = []
        self._item_ready: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.is_async = isinstance(items, AsyncIterable)
        self.has_ended = False

    @property
    def pending(self) -> list[asyncio.Future[Any]]:
        """Futures of an async source that is being pulled. One is done when it has more items."""
        futures: list[asyncio.Future[Any] | None] = [self._task, self._item_ready]
        return [future for future in futures if future is not None and not future.done()]

    def pull(self, room: int, until: float) -> list[BatchItem]:
        """Return the next items; empty if there are none, or none yet.

        Args:
            room: Maximum number of items.
            until: When to stop pulling, on the clock of the client.
        """
        if self.has_ended:
            return []
        return self._pull_async(room) if self.is_async else self._pull_plain(room, until)

    def _pull_plain(self, room: int, until: float) -> list[BatchItem]:
        pulled: list[BatchItem] = []
        encode, monotonic = self._encode, self._clock.monotonic
        index = self._index
        last = index + room
        try:
            if self._iterator is None:
                self._iterator = iter(cast("Iterable[Any]", self._items))
            for item in cast("Iterator[Any]", self._iterator):
                pulled.append(encode(index, item))
                index += 1
                if index >= last or monotonic() >= until:
                    break
            else:
                self.has_ended = True
        except Exception as exc:  # noqa: BLE001 # the caller's own, raised by `raise_error`
            self._error = exc
            self.has_ended = True
        self._index = index
        return pulled

    def _pull_async(self, room: int) -> list[BatchItem]:
        if self._ready:
            pulled = self._ready[:room]
            del self._ready[:room]
            return pulled
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            try:
                self.has_ended = task.result()
            # A source also ends when one of its own tasks is cancelled.
            except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 # as above
                self._error = exc
                self.has_ended = True
        if self.has_ended:
            self._item_ready = None
        else:
            if self._task is None:
                self._task = asyncio.create_task(self._fill(room))
            self._item_ready = asyncio.get_running_loop().create_future()
        return []

    async def _fill(self, room: int) -> bool:
        """Pull as many items as there is room for. A task per item would cost more than the item.

        Returns:
            Whether the source has ended.
        """
        if self._iterator is None:
            self._iterator = aiter(cast("AsyncIterable[Any]", self._items))
        iterator = cast("AsyncIterator[Any]", self._iterator)
        until = self._clock.monotonic() + MAX_PULL_SECONDS
        for _ in range(room):
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return True
            self._ready.append(self._encode(self._index, item))
            self._index += 1
            if self._item_ready is not None and not self._item_ready.done():
                self._item_ready.set_result(None)
            if self._clock.monotonic() >= until:  # the source may never wait
                await asyncio.sleep(0)
                until = self._clock.monotonic() + MAX_PULL_SECONDS
        return False

    def raise_error(self) -> None:
        """Raise the exception that ended the source, if any."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # the exception and this frame would refer to each other

    def stop(self) -> None:
        self.has_ended = True
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop, and close a source that is a generator."""
        self.stop()
        if self._task is not None:
            # The batch has ended for another reason: the task's exception is ignored.
            await asyncio.gather(self._task, return_exceptions=True)
        for source in (self._iterator, self._items):
            if isinstance(source, AsyncGenerator):
                await cast("AsyncGenerator[Any, None]", source).aclose()
            elif isinstance(source, Generator):
                cast("Generator[Any, None, None]", source).close()
