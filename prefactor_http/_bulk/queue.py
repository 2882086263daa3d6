"""The items of a batch that wait, and the requests that they are put into.

Items of a group keep their order, so no two requests that contain items of one group may be in
flight at once. A group is *busy* from the moment that a request contains one of its items until
that request has been settled; its later items wait aside. A request that is to be sent again stays
a `Chunk`, and its groups stay busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence

from msgspec import Struct, structs

from prefactor_http._bulk.outcome import Entry, Outcome

_HEAD, _TAIL = b'{"items":[', b"]}"
_MAX_BROKEN_GROUPS = 4096


class Chunk(Struct, eq=False):
    """Items that are sent in one request.

    Attributes:
        entries: The items, in order.
        groups: The groups that have an item in it.
        is_part: Whether it is a part of a failed request: then it is sent once as it is.
        must_split: Whether it has failed, and has to be split before it is sent again.
        failed_at: How many requests had succeeded when it failed, or the one that it is a part of.
        malformed: Responses to it that were not what the API promises.
        needs_new_connection: Whether it must not be sent over a pooled connection.
        ok: Outcomes of its items that were applied.
    """

    entries: list[Entry]
    groups: set[Hashable]
    is_part: bool = False
    must_split: bool = False
    failed_at: int | None = None
    malformed: int = 0
    needs_new_connection: bool = False
    ok: Sequence[Outcome] = ()

    @property
    def body(self) -> bytes:
        """The request, copying each byte once."""
        parts = [_HEAD]
        for entry in self.entries:
            parts += entry.body, entry.shared, b","
        parts[-1] = _TAIL
        return b"".join(parts)


class BatchQueue:
    """Hands out items in chunks such that no group is in two of them at once.

    Attributes:
        unsent: Items that will not be sent, because they cannot be, or because an earlier one of
            their group did not succeed.
        has_returned: Whether items wait in front that have been in a request, or have waited for
            one, and are not to wait any longer.
    """

    def __init__(self) -> None:
        self.unsent: list[Entry] = []
        self.has_returned = False
        self._waiting: deque[Entry] = deque()
        self._retries: deque[Chunk] = deque()
        self._busy: dict[Hashable, deque[Entry]] = {}
        # In order: the groups of a long source are without number, so the oldest is forgotten.
        self._broken: dict[Hashable | None, bool] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether items wait that are in no chunk and behind no other one of their group."""
        return bool(self._waiting)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add new items."""
        self._waiting.extend(entries)

    def take(self, items: int, size: int, *, only_full: bool = False) -> Chunk | None:
        """Make a chunk of the items that wait.

        Args:
            items: Most items in it.
            size: Most bytes of it; one item alone may have more.
            only_full: Whether to make none unless no more items would fit.

        Returns:
            The chunk, or None when nothing can be sent now.
        """
        chosen: list[Entry] = []
        aside: list[Entry] = []
        groups: set[Hashable] = set()
        try:
            is_full = self._choose(items, size, chosen, aside, groups)
        except Exception:  # out of a caller's group: no item is lost
            self._waiting.extendleft(reversed(chosen + aside))
            raise
        self._waiting.extendleft(reversed(aside))
        if only_full and not is_full:
            for group in groups:
                del self._busy[group]
            self._waiting.extendleft(reversed(chosen))
            return None
        self.has_returned = (
            self.has_returned and bool(self._waiting) and self._waiting[0].history is not None
        )
        if not chosen:
            return None
        chunk = Chunk(chosen, groups)
        if chosen[0].failures:
            chunk.is_part, chunk.failed_at = True, chosen[0].past.failed_at
        return chunk

    def _choose(  # one loop, which every row goes through
        self,
        items: int,
        size: int,
        chosen: list[Entry],
        aside: list[Entry],
        groups: set[Hashable],
    ) -> bool:
        """Take items out that go together: into a request, or aside until the next.

        Returns:
            Whether no more items would fit.
        """
        waiting = self._waiting
        keys: set[str] = set()
        aside_groups: set[Hashable] = set()
        room = size - len(_HEAD) - len(_TAIL)
        failures = 0
        while waiting:
            if len(chosen) >= items:
                return True
            entry = waiting.popleft()
            group = entry.group
            # The API accepts each key once per request: the second one waits for the next.
            is_aside = entry.key in keys
            if group is not None or entry.refusal is not None:
                try:
                    if self._is_put_off(entry, groups, aside_groups):
                        continue
                    is_aside |= group in aside_groups or entry.refusal is not None
                except Exception:
                    waiting.appendleft(entry)
                    raise
            if is_aside:
                aside.append(entry)
                if group is not None:
                    aside_groups.add(group)
                continue
            room -= len(entry.body) + len(entry.shared) + 1
            own_failures = 0 if entry.history is None else entry.history.failures
            # Items under suspicion are not put together with others.
            if chosen and (room < -1 or own_failures != failures):
                waiting.appendleft(entry)
                return True
            failures = own_failures
            chosen.append(entry)
            keys.add(entry.key)
            if group is not None and group not in groups:
                groups.add(group)
                self._busy[group] = deque()
        return len(chosen) >= items

    def _is_put_off(self, entry: Entry, here: set[Hashable], aside: set[Hashable]) -> bool:
        """Sort out an item whose group does not let it go now, or that is never sent."""
        group = entry.group
        if group in self._broken:
            self.unsent.append(entry)
        elif group in self._busy and group not in here:
            self._busy[group].append(entry)
        elif entry.refusal is not None and group not in here and group not in aside:
            self.unsent.append(entry)
            self.break_group(group, is_certain=True)
        else:
            return False
        return True

    @property
    def sendable(self) -> Iterator[Entry]:
        """The items that may be sent now or when the request before is done."""
        for chunk in self._retries:
            yield from chunk.entries
        yield from self._waiting

    def take_one(self, place: float) -> Chunk | None:
        """Make a chunk of one item that may be sent now, one that is not suspected if possible.

        Args:
            place: Which one: 0 for the first, 1 for the last.
        """
        heads: list[tuple[Chunk | None, Entry]] = [
            (chunk, entry) for chunk in self._retries for entry in _heads(chunk.entries)
        ]
        heads += [
            (None, entry)
            for entry in _heads(self._waiting)
            if entry.refusal is None
            and entry.group not in self._busy
            and entry.group not in self._broken
        ]
        if not heads:
            return None
        heads = [head for head in heads if not head[1].failures] or heads
        chunk, entry = heads[round(place * (len(heads) - 1))]
        if chunk is None:
            self._waiting.remove(entry)
            groups: set[Hashable] = set() if entry.group is None else {entry.group}
            self._busy |= {group: deque() for group in groups}
            return Chunk([entry], groups)
        position = self._retries.index(chunk)
        del self._retries[position]
        one, others = self._divide(chunk, [entry])
        if others is not None:
            self._retries.insert(position, others)
        return one

    def retry(self, chunk: Chunk) -> None:
        """Keep a chunk to be sent again before all that waits."""
        self._retries.append(chunk)

    @property
    def has_part(self) -> bool:
        """Whether the next chunk to be sent again is a part that has not been sent yet."""
        return bool(self._retries) and self._retries[0].is_part and not self._retries[0].must_split

    def next_retry(self) -> Chunk | None:
        """Hand out the next chunk that is to be sent again."""
        if not self._retries:
            return None
        chunk = self._retries.popleft()
        if chunk.must_split and len(chunk.entries) > 1:  # some may have left it as probes
            self.split(chunk, is_part=True)
            return self._retries.popleft()
        return chunk

    def split(self, chunk: Chunk, *, is_part: bool) -> None:
        """Replace a chunk of several items by two, the next to be sent.

        Groups stay together, so that both can be in flight at once. A single group is cut, and its
        second half waits behind the first.

        Args:
            chunk: The chunk.
            is_part: Whether the parts are sent only once as they are.
        """
        one, others = self._divide(chunk, _first_half(chunk.entries))
        for part in (others, one):
            if part is not None:
                part.is_part, part.must_split = is_part, False
                self._retries.appendleft(part)

    def _divide(self, chunk: Chunk, chosen: list[Entry]) -> tuple[Chunk, Chunk | None]:
        """Divide a chunk; what is behind the chosen items in their groups waits for them."""
        groups = {entry.group for entry in chosen} - {None}
        keys = {entry.key for entry in chosen}
        others: list[Entry] = []
        behind: list[Entry] = []
        for entry in chunk.entries:
            if entry.key not in keys:
                (behind if entry.group in groups else others).append(entry)
        for entry in reversed(behind):
            self._busy[entry.group].appendleft(entry)
        one = structs.replace(chunk, entries=chosen, groups=groups)
        if not others:
            return one, None
        return one, structs.replace(chunk, entries=others, groups=chunk.groups - groups)

    def give_back(
        self, chunk: Chunk, rest: Iterable[Entry] = (), kept: Sequence[Entry] = ()
    ) -> None:
        """Take a chunk's items back that have no outcome, before all that wait, free its groups.

        Args:
            chunk: The chunk.
            rest: Items to be sent again, in order.
            kept: Items that the caller keeps; their groups stay busy until `resume` or `release`.
        """
        busy = {entry.group for entry in kept}
        back: list[Entry] = []
        behind: list[Entry] = []
        for entry in rest:
            (behind if entry.group is not None and entry.group in busy else back).append(entry)
        for entry in reversed(behind):
            self._busy[entry.group].appendleft(entry)
        for group in chunk.groups:
            if group not in busy:
                back += self._busy.pop(group)
        self._return(back)

    def resume(self, entry: Entry) -> None:
        """Send an item that was kept, and then those that wait behind it."""
        try:
            self.release(entry.group)
        finally:
            self._return([entry])

    def release(self, group: Hashable | None) -> None:
        """Free a group whose item was kept and has an outcome now."""
        if group is not None:
            self._return(self._busy.pop(group))

    def _return(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._waiting.extendleft(reversed(entries))
            self.has_returned = True

    def break_group(self, group: Hashable | None, *, is_certain: bool) -> None:
        """Send nothing more of a group.

        Args:
            group: The group.
            is_certain: Whether the item that broke it was certainly not applied.
        """
        if group is not None:
            self._broken.setdefault(group, is_certain)
            if len(self._broken) > _MAX_BROKEN_GROUPS:
                del self._broken[next(iter(self._broken))]

    def is_certain(self, group: Hashable | None) -> bool:
        """Whether nothing of a broken group was applied after the item that broke it.

        A request that contained a later item contained that item before it, and the API stops at
        the first item that it refuses.
        """
        return self._broken.get(group, False)

    def drain(self) -> list[Entry]:
        """Take out everything that waits."""
        left = [entry for chunk in self._retries for entry in chunk.entries]
        left += [*self._waiting, *(entry for later in self._busy.values() for entry in later)]
        self._retries.clear()
        self._waiting.clear()
        for later in self._busy.values():
            later.clear()
        return left


def _heads(entries: Iterable[Entry]) -> list[Entry]:
    """Return the items without a group, and the first one of each group."""
    seen: set[Hashable] = set()
    heads: list[Entry] = []
    for entry in entries:
        if entry.group not in seen:
            heads.append(entry)
            if entry.group is not None:
                seen.add(entry.group)
    return heads


def _first_half(entries: list[Entry]) -> list[Entry]:
    """Choose about half of the items: whole groups, unless there is only one."""
    units: dict[tuple[Hashable, str | None], list[Entry]] = {}
    for entry in entries:
        name = entry.group, entry.key if entry.group is None else None
        units.setdefault(name, []).append(entry)
    if len(units) == 1:
        return entries[: len(entries) // 2]
    keys: set[str] = set()
    for unit in [*units.values()][:-1]:
        keys.update(entry.key for entry in unit)
        if len(keys) >= len(entries) // 2:
            break
    return [entry for entry in entries if entry.key in keys]
