"""Rows that repeat the name of an earlier row, found in flat memory.

A name is an ``id``, an ``external_identifier`` or an idempotency key of the row's own. The API
registers one instance for each, so a second row of that name must not count as registered.

Names are kept as 64-bit hashes in tables with open addressing: 12 bytes a slot, at most four fifths
full. There are many small tables instead of one, so that only a small part is copied when one
grows. With the line and a checksum of each row's content, that makes 28 to 36 bytes for a row with
one name, and 58 to 81 for a row with all three. Two different names are taken for one with a
probability of 3e-8 for a million rows, 3e-4 for a hundred million; the row is then reported, not
lost silently.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator
from hashlib import blake2b
from typing import Any
from zlib import crc32

from msgspec import Struct

from prefactor_http._row_key import KEY, NAMES, content_of
from prefactor_http.cli._rows import Row

_NAMES = (KEY, *NAMES)
_TABLES = 64
_FIRST_SIZE = 16


class Duplicate(Struct, frozen=True):
    """A row whose name an earlier row has.

    Attributes:
        field: Which name is repeated.
        value: The name.
        line: Line of the first row with that name.
        index: Its position among the rows.
        is_same: Whether the two rows have the same content.
    """

    field: str
    value: str
    line: int
    index: int
    is_same: bool


class Duplicates:
    """Remembers the names of rows, and finds those that come again.

    Args:
        agent_id: Agent of the rows that name none.
        has_job: Whether keys are derived from names. They are then the same for all agents;
            otherwise an external identifier may occur once for each agent.
    """

    def __init__(self, agent_id: str | None, *, has_job: bool) -> None:
        self._agent_id = agent_id
        self._has_job = has_job
        self._tables = [_Table() for _ in range(_TABLES)]
        self._indexes = array("I")
        self._lines = array("I")
        self._contents = array("I")

    def find(self, row: Row) -> Duplicate | None:
        """Find the earlier row that a row repeats; a row without one is remembered.

        Args:
            row: A row that can be sent, with its key.
        """
        fields = row.fields
        assert fields is not None  # noqa: S101 # it was checked
        digests = list(self._digests_of(row, fields))
        if not digests:
            return None
        content = crc32(content_of(fields))
        for field, digest in digests:
            number = self._tables[digest % _TABLES].get(digest)
            if number is not None:
                return Duplicate(
                    field,
                    fields[field],
                    self._lines[number],
                    self._indexes[number],
                    self._contents[number] == content,
                )
        number = len(self._lines)
        self._indexes.append(row.index)
        self._lines.append(row.line)
        self._contents.append(content)
        for _, digest in digests:
            self._tables[digest % _TABLES].add(digest, number)
        return None

    def _digests_of(
        self, row: Row, fields: dict[str, Any]
    ) -> Generator[tuple[str, int], None, None]:
        for field in _NAMES:
            value = fields.get(field)
            if value is None or (field == KEY and not row.has_own_key):
                continue
            scope = ""
            if field == "external_identifier" and not self._has_job:
                scope = fields.get("agent_id") or self._agent_id or ""
            name = f"{field}\0{scope}\0{value}".encode()
            yield field, int.from_bytes(blake2b(name, digest_size=8).digest(), "big")


class _Table:
    """A set of hashes, each with a number; linear probing, and a hash of 0 counts as 1."""

    def __init__(self) -> None:
        self._size = 0
        self._allocate(_FIRST_SIZE)

    def get(self, digest: int) -> int | None:
        slot = self._slot_of(digest or 1)
        return self._numbers[slot] if self._digests[slot] else None

    def add(self, digest: int, number: int) -> None:
        if self._size * 5 >= len(self._digests) * 4:
            digests, numbers = self._digests, self._numbers
            self._allocate(len(digests) * 3 // 2)
            for old, its_number in zip(digests, numbers, strict=True):
                if old:
                    self._put(old, its_number)
        self._put(digest or 1, number)
        self._size += 1

    def _allocate(self, slots: int) -> None:
        self._digests = array("Q", bytes(8 * slots))
        self._numbers = array("I", bytes(4 * slots))

    def _put(self, digest: int, number: int) -> None:
        slot = self._slot_of(digest)
        self._digests[slot] = digest
        self._numbers[slot] = number

    def _slot_of(self, digest: int) -> int:
        """Find a hash's slot, or the free one where it belongs."""
        digests = self._digests
        size = len(digests)
        slot = digest // _TABLES % size  # the low bits have chosen the table
        while digests[slot] and digests[slot] != digest:
            slot = (slot + 1) % size
        return slot
