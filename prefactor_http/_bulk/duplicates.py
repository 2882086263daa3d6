"""Finds repeated names among any number of rows, with 16 to 32 bytes per row.

Names are stored as 64-bit hashes in tables with open addressing. There are many small tables
instead of a large one, so that only a small part is copied when one grows. The probability that
any two different names have the same hash is 3e-8 for a million names, and 3e-4 for a hundred
million.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from zlib import crc32

from msgspec import Struct

_TABLES = 256
_FIRST_SIZE = 8


class Duplicate(Struct, frozen=True):
    """The first row with a name.

    Attributes:
        index: Its position.
        is_same: Whether its content is equal.
    """

    index: int
    is_same: bool


class Duplicates:
    """Remembers the first row with each name."""

    def __init__(self) -> None:
        self._tables = [_Table() for _ in range(_TABLES)]

    def find(self, name: str, index: int, content: bytes) -> Duplicate | None:
        """Find the first row with a name; if the name is new, remember this row.

        Args:
            name: The name.
            index: Its position, below 2**32.
            content: Its canonical encoding.

        Returns:
            The first row, or None if this is the first one.
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
    """Hashes with the index and checksum of their rows; 0 marks a free slot. At most 80 % full."""

    def __init__(self) -> None:
        self._used = 0
        self._allocate(_FIRST_SIZE)

    def _allocate(self, size: int) -> None:
        self.digests = array("Q", bytes(8 * size))
        self.indexes = array("I", bytes(4 * size))
        self.checksums = array("I", bytes(4 * size))

    def slot_of(self, digest: int) -> int:
        """Find the slot of a hash, or the free slot where it belongs."""
        digests = self.digests
        size = len(digests)
        slot = digest // _TABLES % size  # the remainder has selected the table
        while (found := digests[slot]) and found != digest:
            slot = (slot + 1) % size
        return slot

    def add(self, slot: int, digest: int, index: int, checksum: int) -> None:
        self._put(slot, digest, index, checksum)
        self._used += 1
        if self._used * 5 > len(self.digests) * 4:
            before = zip(self.digests, self.indexes, self.checksums, strict=True)
            self._allocate(len(self.digests) * 3 // 2)
            for old in before:
                if old[0]:
                    self._put(self.slot_of(old[0]), *old)

    def _put(self, slot: int, digest: int, index: int, checksum: int) -> None:
        self.digests[slot] = digest
        self.indexes[slot] = index
        self.checksums[slot] = checksum
