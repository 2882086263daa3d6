"""Finds names that come again among any number of rows, at 16 to 32 bytes a row.

Names are kept as 64-bit hashes in tables with open addressing. There are many small tables instead
of a large one, so that only a small part is copied when one grows. Two different names are taken
for one with a probability of 3e-8 among a million, and 3e-4 among a hundred million.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from zlib import crc32

from msgspec import Struct

_TABLES = 256
_FIRST_SIZE = 8


class Duplicate(Struct, frozen=True):
    """What is known of the first row of a name.

    Attributes:
        index: Its position.
        is_same: Whether its content is the same.
    """

    index: int
    is_same: bool


class Duplicates:
    """Remembers the rows that came first."""

    def __init__(self) -> None:
        self._tables = [_Table() for _ in range(_TABLES)]

    def find(self, name: str, index: int, content: bytes) -> Duplicate | None:
        """Find the first row of a name; a row whose name is new is remembered.

        Args:
            name: What identifies the row.
            index: Its position, below 2**32.
            content: Its content, in one encoding for all rows.

        Returns:
            The first row, or None where this one is the first.
        """
        digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") or 1
        checksum = crc32(content)
        table = self._tables[digest % _TABLES]
        slot = table.slot_of(digest)
        if not table.digests[slot]:
            table.add(slot, digest, index, checksum)
            return None
        return Duplicate(table.indexes[slot], table.checksums[slot] == checksum)

    def get(self, name: str, content: bytes) -> Duplicate | None:
        """Find the first row with a name, and remember nothing."""
        digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") or 1
        table = self._tables[digest % _TABLES]
        slot = table.slot_of(digest)
        if not table.digests[slot]:
            return None
        return Duplicate(table.indexes[slot], table.checksums[slot] == crc32(content))


class _Table:
    """Hashes and what belongs to them, 0 for a free slot; at most four fifths are taken."""

    def __init__(self) -> None:
        self._taken = 0
        self._allocate(_FIRST_SIZE)

    def _allocate(self, size: int) -> None:
        self.digests = array("Q", bytes(8 * size))
        self.indexes = array("I", bytes(4 * size))
        self.checksums = array("I", bytes(4 * size))

    def slot_of(self, digest: int) -> int:
        """Find a hash's slot, or the free one where it belongs."""
        digests = self.digests
        size = len(digests)
        slot = digest // _TABLES % size  # the low bits have chosen the table
        while (found := digests[slot]) and found != digest:
            slot = (slot + 1) % size
        return slot

    def add(self, slot: int, digest: int, index: int, checksum: int) -> None:
        """Take a free slot."""
        self._put(slot, digest, index, checksum)
        self._taken += 1
        if self._taken * 5 > len(self.digests) * 4:
            before = zip(self.digests, self.indexes, self.checksums, strict=True)
            self._allocate(len(self.digests) * 3 // 2)
            for old in before:
                if old[0]:
                    self._put(self.slot_of(old[0]), *old)

    def _put(self, slot: int, digest: int, index: int, checksum: int) -> None:
        self.digests[slot] = digest
        self.indexes[slot] = index
        self.checksums[slot] = checksum
