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
from hashlib import blake2b
from typing import Any
from zlib import crc32

from msgspec import Struct

from prefactor_http._bulk.rows import KEY, NAMES, content_of
from prefactor_http.cli.register.rows import Row

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
        names = [name for name in _NAMES if name in fields and (name != KEY or row.has_own_key)]
        if not names:
            return None
        content = crc32(content_of(fields))
        digests = [self._digest(name, fields) for name in names]
        if len(names) > 1:  # none of them is remembered where one of them is a repeated one
            for name, digest in zip(names, digests, strict=True):
                number = self._tables[digest % _TABLES].get(digest)
                if number is not None:
                    return self._duplicate(name, fields, number, content)
        new = len(self._lines)
        for name, digest in zip(names, digests, strict=True):
            number = self._tables[digest % _TABLES].setdefault(digest, new)
            if number != new:
                return self._duplicate(name, fields, number, content)
        self._indexes.append(row.index)
        self._lines.append(row.line)
        self._contents.append(content)
        return None

    def _digest(self, name: str, fields: dict[str, Any]) -> int:
        scope = ""
        if name == "external_identifier" and not self._has_job:
            scope = fields.get("agent_id") or self._agent_id or ""
        text = f"{name}\0{scope}\0{fields[name]}".encode()
        # A free slot holds 0.
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1

    def _duplicate(self, name: str, fields: dict[str, Any], number: int, content: int) -> Duplicate:
        return Duplicate(
            name,
            fields[name],
            self._lines[number],
            self._indexes[number],
            self._contents[number] == content,
        )


class _Table:
    """Hashes other than 0, each with a number; linear probing."""

    def __init__(self) -> None:
        self._size = 0
        self._digests = array("Q", bytes(8 * _FIRST_SIZE))
        self._numbers = array("I", bytes(4 * _FIRST_SIZE))

    def get(self, digest: int) -> int | None:
        slot = _slot_of(self._digests, digest)
        return self._numbers[slot] if self._digests[slot] else None

    def setdefault(self, digest: int, number: int) -> int:
        digests = self._digests
        slot = _slot_of(digests, digest)
        if digests[slot]:
            return self._numbers[slot]
        digests[slot] = digest
        self._numbers[slot] = number
        self._size += 1
        if self._size * 5 > len(digests) * 4:
            self._grow()
        return number

    def _grow(self) -> None:
        size = len(self._digests) * 3 // 2
        digests, numbers = array("Q", bytes(8 * size)), array("I", bytes(4 * size))
        for digest, number in zip(self._digests, self._numbers, strict=True):
            if digest:
                slot = _slot_of(digests, digest)
                digests[slot] = digest
                numbers[slot] = number
        self._digests, self._numbers = digests, numbers


def _slot_of(digests: array[int], digest: int) -> int:
    """Find a hash's slot, or the free one where it belongs."""
    size = len(digests)
    slot = digest // _TABLES % size  # the low bits have chosen the table
    while (found := digests[slot]) and found != digest:
        slot = (slot + 1) % size
    return slot
