"""The items of a batch that wait, and the requests (chunks) that they are sent in.

Items of a group keep their order, so two requests in flight never contain items of one group. A
group is *busy* from when a request contains one of its items until that request has been handled.
Its later items wait behind it. A request that will be sent again stays a `Chunk`, and its groups
stay busy. In a job, an item without success *blocks* its group: later items of it are not sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence

from msgspec import Struct, structs

from prefactor_http._bulk.batch_item import BatchItem

_HEAD, _TAIL = b'{"items":[', b"]}"
_MAX_BLOCKED_GROUPS = 4096


class RefusedRequest(Struct, eq=False):
    """A request that was refused as a whole, and was divided to find out why.

    Attributes:
        parts: Parts that were not accepted yet. Never 0 if an item was refused alone.
        accepted: Size of the largest part that was accepted.
    """

    parts: int = 1
    accepted: int = 0


class Chunk(Struct, eq=False):
    """Items that are sent in one request.

    Attributes:
        items: The items, in order.
        groups: The groups of its items.
        is_part: Whether it is a part of a failed request, to be sent once before it is split.
        must_split: Whether it has failed and is split before it is sent again.
        failed_at: How many requests had succeeded when it, or the request it is a part of, failed.
        malformed: Responses to it that broke the API's contract.
        needs_new_connection: Whether it must not be sent over a pooled connection.
        ok: Keys of its items that were applied.
        failures: Retries so far, if a batcher retries it.
        has_reconnected: Whether a retry has followed a lost connection.
        spent: Tokens of the retry budget that its retries have cost.
        waited: Seconds that it has waited for retries.
        refused: The refused request that it is a part of.
    """

    items: list[BatchItem]
    groups: set[Hashable]
    is_part: bool = False
    must_split: bool = False
    failed_at: int | None = None
    malformed: int = 0
    needs_new_connection: bool = False
    ok: Collection[str] = ()
    failures: int = 0
    has_reconnected: bool = False
    spent: int = 0
    waited: float = 0.0
    refused: RefusedRequest | None = None

    @property
    def body(self) -> bytes:
        """The body of the request. Each byte is copied once."""
        parts = [_HEAD]
        for item in self.items:
            parts += item.body, item.shared, b","
        parts[-1] = _TAIL
        return b"".join(parts)


class BatchQueue:
    """Builds chunks from items such that no group is in two chunks at once.

    Args:
        blocks_groups: Whether an item that cannot be sent blocks its group.

    Attributes:
        unsendable: Items that will not be sent, because they are invalid or their group is blocked.
        has_requeued: Whether items at the front have been in a request, or waited for one. They
            are sent without waiting for a full chunk.
    """

    def __init__(self, *, blocks_groups: bool = True) -> None:
        self._blocks_groups = blocks_groups
        self.unsendable: list[BatchItem] = []
        self.has_requeued = False
        self._waiting: deque[BatchItem] = deque()
        self._retries: deque[Chunk] = deque()
        self._busy: dict[Hashable, deque[BatchItem]] = {}
        # In insertion order. A long source can block any number of groups: the oldest are dropped.
        self._blocked: dict[Hashable | None, bool] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether items wait that are in no chunk and not behind a busy group."""
        return bool(self._waiting)

    @property
    def sendable(self) -> Iterator[BatchItem]:
        """The items that can be sent now, or after the request in flight."""
        for chunk in self._retries:
            yield from chunk.items
        yield from self._waiting

    @property
    def has_busy_groups(self) -> bool:
        return bool(self._busy)

    def add(self, items: Iterable[BatchItem]) -> None:
        self._waiting.extend(items)

    def append(self, item: BatchItem) -> None:
        self._waiting.append(item)

    # Chunks of new items

    def next_chunk(
        self, max_items: int, max_bytes: int, *, only_full: bool = False, lane: object = None
    ) -> Chunk | None:
        """Build a chunk of the items that wait.

        Args:
            max_items: Maximum number of items.
            max_bytes: Maximum size of the request; one item alone may be larger.
            only_full: Whether to return None unless the chunk is full.
            lane: Only items of this lane; None if all items are of one lane.

        Returns:
            The chunk, or None if nothing can be sent now.
        """
        chosen: list[BatchItem] = []
        deferred: list[BatchItem] = []
        groups: set[Hashable] = set()
        try:
            is_full = self._choose(max_items, max_bytes, chosen, deferred, groups, lane)
        except Exception:  # a caller's group was compared; no item may be lost
            self._waiting.extendleft(reversed(chosen + deferred))
            raise
        self._waiting.extendleft(reversed(deferred))
        if only_full and not is_full:
            for group in groups:
                del self._busy[group]
            self._waiting.extendleft(reversed(chosen))
            return None
        self.has_requeued = (
            self.has_requeued
            and bool(self._waiting)
            and self._waiting[0].history_or_none is not None
        )
        if not chosen:
            return None
        chunk = Chunk(chosen, groups)
        if chosen[0].failures:
            chunk.is_part, chunk.failed_at = True, chosen[0].history.first_failed_at
        return chunk

    def _choose(  # one loop without calls, see below
        self,
        max_items: int,
        max_bytes: int,
        chosen: list[BatchItem],
        deferred: list[BatchItem],
        groups: set[Hashable],
        lane: object,
    ) -> bool:
        """Move waiting items into the next chunk, or defer them to the one after it.

        One loop without calls for items that have no group: every row passes through it.

        Returns:
            Whether the chunk is full.
        """
        waiting = self._waiting
        keys: set[str] = set()
        deferred_groups: set[Hashable] = set()
        room = max_bytes - len(_HEAD) - len(_TAIL)
        failures = 0
        while waiting:
            if len(chosen) >= max_items:
                return True
            item = waiting.popleft()
            group = item.group
            # The API accepts each key once per request. The second one waits for the next request.
            is_deferred = item.key in keys or (lane is not None and item.lane is not lane)
            if group is not None or item.error is not None:
                try:
                    if self._set_aside(item, groups, deferred_groups):
                        continue
                    is_deferred |= group in deferred_groups or item.error is not None
                except Exception:
                    waiting.appendleft(item)
                    raise
            if is_deferred:
                deferred.append(item)
                if group is not None:
                    deferred_groups.add(group)
                continue
            room -= len(item.body) + len(item.shared) + 1
            item_failures = 0 if item.history_or_none is None else item.history_or_none.failures
            # Suspects are not mixed with other items.
            if chosen and (room < -1 or item_failures != failures):
                waiting.appendleft(item)
                return True
            failures = item_failures
            chosen.append(item)
            keys.add(item.key)
            if group is not None and group not in groups:
                groups.add(group)
                self._busy[group] = deque()
        return len(chosen) >= max_items

    def _set_aside(self, item: BatchItem, chosen: set[Hashable], deferred: set[Hashable]) -> bool:
        """Set an item aside if its group is blocked or busy, or if it is invalid.

        Args:
            item: The item.
            chosen: Groups of the chunk that is being built.
            deferred: Groups of the items that are deferred to the next chunk.

        Returns:
            Whether it was set aside.
        """
        group = item.group
        if group in self._blocked:
            self.unsendable.append(item)
        elif group in self._busy and group not in chosen:
            self._busy[group].append(item)
        elif item.error is not None and group not in chosen and group not in deferred:
            self.unsendable.append(item)
            if self._blocks_groups:
                self.block_group(group, is_certain=True)
        else:
            return False
        return True

    # Chunks that are sent again

    def retry(self, chunk: Chunk) -> None:
        """Schedule a chunk to be sent again before all that waits."""
        self._retries.append(chunk)

    @property
    def has_retries(self) -> bool:
        """Whether chunks are to be sent again."""
        return bool(self._retries)

    @property
    def has_part(self) -> bool:
        """Whether the next chunk to be sent again is a part that has not been sent yet."""
        return bool(self._retries) and self._retries[0].is_part and not self._retries[0].must_split

    def next_retry(self) -> Chunk | None:
        """Return the next chunk that is to be sent again."""
        if not self._retries:
            return None
        chunk = self._retries.popleft()
        if chunk.must_split and len(chunk.items) > 1:  # probes may have taken some of its items
            self.split(chunk, is_part=True)
            return self._retries.popleft()
        return chunk

    def split(self, chunk: Chunk, *, is_part: bool) -> None:
        """Replace a chunk of several items by two, which are sent next.

        Groups stay together, so that both parts can be in flight at once. A single group is cut in
        two, and its second half waits behind the first.

        Args:
            chunk: The chunk.
            is_part: Whether each part is sent only once before it is split.
        """
        one, others = self._divide(chunk, _first_half(chunk.items))
        for part in (others, one):
            if part is not None:
                part.is_part, part.must_split = is_part, False
                self._retries.appendleft(part)

    def next_probe(self, position: float) -> Chunk | None:
        """Build a chunk of one item that can be sent now, preferably one without failures.

        Args:
            position: Which one: 0 for the first, 1 for the last.
        """
        candidates: list[tuple[Chunk | None, BatchItem]] = [
            (chunk, item) for chunk in self._retries for item in _heads(chunk.items)
        ]
        candidates += [
            (None, item)
            for item in _heads(self._waiting)
            if item.error is None
            and item.group not in self._busy
            and item.group not in self._blocked
        ]
        if not candidates:
            return None
        candidates = [each for each in candidates if not each[1].failures] or candidates
        chunk, item = candidates[round(position * (len(candidates) - 1))]
        if chunk is None:
            self._waiting.remove(item)
            groups: set[Hashable] = set() if item.group is None else {item.group}
            self._busy |= {group: deque() for group in groups}
            return Chunk([item], groups)
        index = self._retries.index(chunk)
        del self._retries[index]
        one, others = self._divide(chunk, [item])
        if others is not None:
            self._retries.insert(index, others)
        return one

    def divide(
        self, chunk: Chunk, choose: Callable[[list[BatchItem]], list[BatchItem]]
    ) -> list[Chunk]:
        """Replace a chunk by several, which are sent next.

        Args:
            chunk: The chunk.
            choose: Chooses the items of the next part from those that are left. Items behind them
                in their groups wait for them.

        Returns:
            The parts.
        """
        parts: list[Chunk] = []
        rest: Chunk | None = chunk
        while rest is not None:
            part, rest = self._divide(rest, choose(rest.items))
            parts.append(part)
        self._retries.extendleft(reversed(parts))
        return parts

    def _divide(self, chunk: Chunk, chosen: list[BatchItem]) -> tuple[Chunk, Chunk | None]:
        """Divide a chunk. Items behind the chosen ones in their groups wait for them."""
        groups = {item.group for item in chosen} - {None}
        keys = {item.key for item in chosen}
        others: list[BatchItem] = []
        behind: list[BatchItem] = []
        for item in chunk.items:
            if item.key not in keys:
                (behind if item.group in groups else others).append(item)
        for item in reversed(behind):
            self._busy[item.group].appendleft(item)
        one = structs.replace(chunk, items=chosen, groups=groups)
        if not others:
            return one, None
        return one, structs.replace(chunk, items=others, groups=chunk.groups - groups)

    # Chunks that have been sent

    def keep(self, chunk: Chunk, items: Iterable[BatchItem]) -> None:
        """Remove all other items from a chunk, and free the groups that it no longer contains."""
        chunk.items = [*items]
        left = {item.group for item in chunk.items}
        for group in [group for group in chunk.groups if group not in left]:
            chunk.groups.discard(group)
            self.release_group(group)

    def dissolve(
        self, chunk: Chunk, requeue: Iterable[BatchItem] = (), held: Sequence[BatchItem] = ()
    ) -> None:
        """Free the groups of a chunk, and requeue items of it before all that wait.

        Args:
            chunk: The chunk.
            requeue: Items to be sent again, in order.
            held: Items that the caller holds. Their groups stay busy until `resume` or
                `release_group`.
        """
        busy = {item.group for item in held}
        front: list[BatchItem] = []
        behind: list[BatchItem] = []
        for item in requeue:
            (behind if item.group is not None and item.group in busy else front).append(item)
        for item in reversed(behind):
            self._busy[item.group].appendleft(item)
        for group in chunk.groups:
            if group not in busy:
                front += self._busy.pop(group)
        chunk.groups = set()
        self._requeue(front)

    def resume(self, item: BatchItem) -> None:
        """Requeue an item that was held, and then those that wait behind it."""
        try:
            self.release_group(item.group)
        finally:
            self._requeue([item])

    def occupy(self, group: Hashable | None) -> bool:
        """Make a group busy, until `release_group`, for an item that is sent without the queue.

        Returns:
            Whether the group was not busy.
        """
        if group is None:
            return True
        if group in self._busy:
            return False
        self._busy[group] = deque()
        return True

    def release_group(self, group: Hashable | None) -> None:
        """Free a group whose held item has an outcome now."""
        if group is not None:
            self._requeue(self._busy.pop(group))

    def _requeue(self, items: Sequence[BatchItem]) -> None:
        if items:
            self._waiting.extendleft(reversed(items))
            self.has_requeued = True

    # Groups that are blocked, and the end of a run

    def block_group(self, group: Hashable | None, *, is_certain: bool) -> None:
        """Send no more items of a group.

        Args:
            group: The group; None for an item without one.
            is_certain: Whether the item that blocks it was certainly not applied.
        """
        if group is not None:
            self._blocked.setdefault(group, is_certain)
            if len(self._blocked) > _MAX_BLOCKED_GROUPS:
                del self._blocked[next(iter(self._blocked))]

    def is_certain(self, group: Hashable | None) -> bool:
        """Whether certainly no item of a blocked group was applied after the one that blocks it.

        A request with a later item also contained that item, before it, and the API stops at the
        first item that it refuses.
        """
        return self._blocked.get(group, False)

    def drain(self) -> list[BatchItem]:
        """Remove and return everything that waits."""
        drained = [item for chunk in self._retries for item in chunk.items]
        drained += [*self._waiting, *(item for behind in self._busy.values() for item in behind)]
        self._retries.clear()
        self._waiting.clear()
        for behind in self._busy.values():
            behind.clear()
        return drained


def _heads(items: Iterable[BatchItem]) -> list[BatchItem]:
    """Return the items without a group, and the first one of each group."""
    seen: set[Hashable] = set()
    heads: list[BatchItem] = []
    for item in items:
        if item.group not in seen:
            heads.append(item)
            if item.group is not None:
                seen.add(item.group)
    return heads


def _first_half(items: list[BatchItem]) -> list[BatchItem]:
    """Choose about half of the items: whole groups, unless there is only one."""
    units: dict[tuple[Hashable, str | None], list[BatchItem]] = {}
    for item in items:
        unit_key = item.group, item.key if item.group is None else None
        units.setdefault(unit_key, []).append(item)
    if len(units) == 1:
        return items[: len(items) // 2]
    keys: set[str] = set()
    for unit in [*units.values()][:-1]:
        keys.update(item.key for item in unit)
        if len(keys) >= len(items) // 2:
            break
    return [item for item in items if item.key in keys]
