"""The items of a batch that wait: in order, group by group, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable

from prefactor_http._batch_outcome import Chunk, Entry

_HEAD, _TAIL = b'{"items":[', b"]}"


class BatchQueue:
    """Hands out chunks such that no group is in two of them at once.

    Attributes:
        unsent: Items that will not be sent, because they cannot be, or because one of their group
            did not succeed.
    """

    def __init__(self) -> None:
        self.unsent: list[Entry] = []
        self._waiting: deque[Entry] = deque()
        # A group with an item under way, and its items that wait for that one.
        self._busy: dict[Hashable, deque[Entry]] = {}
        self._broken: set[Hashable] = set()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take items in."""
        self._waiting.extend(entries)

    def take(self, items: int, size: int) -> Chunk | None:
        """Hand out the next chunk.

        Args:
            items: Most items in it.
            size: Most bytes of it; one item alone may have more.

        Returns:
            The chunk, or None when nothing can be sent now.
        """
        chosen: list[Entry] = []
        keys: set[str] = set()
        groups: set[Hashable] = set()
        aside: list[Entry] = []
        aside_groups: set[Hashable] = set()
        room = size - len(_HEAD) - len(_TAIL)
        while self._waiting and len(chosen) < items:
            entry = self._waiting.popleft()
            group = entry.group
            is_plain = group is None and entry.refusal is None
            if not is_plain and self._is_put_off(entry, groups, aside_groups):
                continue
            # A key that the request has already: the API wants each once, so it goes next time.
            if entry.key in keys or group in aside_groups or entry.refusal is not None:
                aside.append(entry)
                if group is not None:
                    aside_groups.add(group)
                continue
            room -= len(entry.body) + len(entry.shared) + 1
            if room < -1 and chosen:
                self._waiting.appendleft(entry)
                break
            chosen.append(entry)
            keys.add(entry.key)
            if group is not None and group not in groups:
                groups.add(group)
                self._busy[group] = deque()
        self._waiting.extendleft(reversed(aside))
        if not chosen:
            return None
        return Chunk(chosen, _request(chosen), groups)

    def _is_put_off(self, entry: Entry, here: set[Hashable], aside: set[Hashable]) -> bool:
        """Sort out an item whose group does not let it go now, or that never goes."""
        group = entry.group
        if group in self._broken:
            self.unsent.append(entry)
        elif group in self._busy and group not in here:
            self._busy[group].append(entry)
        elif entry.refusal is not None and group not in here and group not in aside:
            self.unsent.append(entry)
            self.break_group(group)
        else:
            return False
        return True

    def give_back(self, chunk: Chunk, rest: Iterable[Entry], held: Entry | None = None) -> None:
        """Take a chunk's unsettled items back, before all that wait, and free its groups.

        Args:
            chunk: The chunk.
            rest: Its items that are to be sent again, in order.
            held: The one that is to wait first, until it is `resume`-d; its group waits with it.
        """
        keep = held.group if held is not None else None
        back = [entry for entry in rest if entry is not held]
        for group in chunk.groups:
            later = self._busy[group]
            own = [entry for entry in back if entry.group == group]
            if group == keep:
                later.extendleft(reversed(own))
                back = [entry for entry in back if entry.group != group]
            else:
                back += self._busy.pop(group)
        self._waiting.extendleft(reversed(back))

    def resume(self, entry: Entry) -> None:
        """Let an item go on that was held, and its group with it."""
        if entry.group is not None:
            self._waiting.extendleft(reversed(self._busy.pop(entry.group)))
        self._waiting.appendleft(entry)

    def break_group(self, group: Hashable | None) -> None:
        """Send nothing more of a group."""
        if group is not None:
            self._broken.add(group)

    def drain(self) -> list[Entry]:
        """Take out everything that waits."""
        left = [*self._waiting, *(entry for later in self._busy.values() for entry in later)]
        self._waiting.clear()
        for later in self._busy.values():
            later.clear()
        return left


def _request(entries: list[Entry]) -> bytes:
    """Write the request that holds the items, copying each byte once."""
    parts = [_HEAD]
    for entry in entries:
        parts += entry.body, entry.shared, b","
    parts[-1] = _TAIL
    return b"".join(parts)
