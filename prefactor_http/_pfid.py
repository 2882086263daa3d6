"""Partitioned ids: 32 characters that sort by time and contain their account (contract §4).

An id is a 158-bit integer, ``timestamp_ms << 110 | partition << 80 | random``, written as 32
digits of five bits in lower-case Crockford base32.
"""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache

from msgspec import Struct

TIMESTAMP_LIMIT = 1 << 48
PARTITION_LIMIT = 1 << 30
RANDOM_LIMIT = 1 << 80

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE_OF = {digit: value for value, digit in enumerate(_DIGITS)}
# Two digits.
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_LOW_HALF = (1 << 40) - 1
_LENGTH = 32
_PATTERN = r"[0-7][0-9a-hjkmnp-tv-z]{31}"


class Pfid(Struct, frozen=True):
    """The three parts of a partitioned id.

    Attributes:
        timestamp_ms: Unix time in milliseconds, 48 bits.
        partition: Number that all ids of an account share, 30 bits.
        random: Random bits that make the id unique, 80 bits.
    """

    timestamp_ms: int
    partition: int
    random: int


def encode(timestamp_ms: int, partition: int, random: int) -> str:
    """Encode an id from its parts.

    Args:
        timestamp_ms: Unix time in milliseconds, 0 to 2**48 - 1.
        partition: 0 to 2**30 - 1.
        random: 0 to 2**80 - 1.

    Returns:
        The id, 32 characters.

    Raises:
        ValueError: A part is out of its range.
    """
    if not 0 <= timestamp_ms < TIMESTAMP_LIMIT:
        raise ValueError(f"timestamp_ms must fit 48 bits, got {timestamp_ms}")
    if not 0 <= partition < PARTITION_LIMIT:
        raise ValueError(f"partition must fit 30 bits, got {partition}")
    if not 0 <= random < RANDOM_LIMIT:
        raise ValueError(f"random must fit 80 bits, got {random}")
    # Two digits at a time, and unrolled: it is a tenth of what an outbox needs to record a write.
    pairs, high, low = _PAIRS, random >> 40, random & _LOW_HALF
    return (
        f"{_prefix(timestamp_ms, partition)}"
        f"{pairs[high >> 30]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}"
        f"{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def decode(pfid: str) -> Pfid:
    """Decode an id into its parts.

    Args:
        pfid: The id.

    Returns:
        The parts.

    Raises:
        ValueError: The text is not a partitioned id.
    """
    if not is_valid(pfid):
        raise ValueError(f"not a partitioned id: {pfid!r}")
    value = 0
    for digit in pfid:
        value = value << 5 | _VALUE_OF[digit]
    return Pfid(value >> 110, value >> 80 & PARTITION_LIMIT - 1, value & RANDOM_LIMIT - 1)


def is_valid(pfid: str) -> bool:
    """Whether a text is a partitioned id. Upper case is not valid."""
    return len(pfid) == _LENGTH and re.fullmatch(_PATTERN, pfid) is not None


def partition_of(pfid: str) -> int:
    """Return the partition of an id. All ids of an account share it.

    Args:
        pfid: The id.

    Returns:
        The partition.

    Raises:
        ValueError: The text is not a partitioned id.
    """
    return decode(pfid).partition


def generate(partition: int, *, timestamp_ms: int | None = None, random: int | None = None) -> str:
    """Generate a new id.

    Args:
        partition: The partition of the account.
        timestamp_ms: Unix time in milliseconds. Defaults to now.
        random: 80 random bits. Defaults to random bits of the operating system.

    Returns:
        The id.

    Raises:
        ValueError: A part is out of its range.
    """
    if timestamp_ms is None:
        timestamp_ms = time.time_ns() // 1_000_000
    if random is None:
        random = int.from_bytes(os.urandom(10))
    return encode(timestamp_ms, partition, random)


@lru_cache(maxsize=16)  # ids of a burst share their millisecond
def _prefix(timestamp_ms: int, partition: int) -> str:
    value = timestamp_ms << 30 | partition
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(70, -1, -10)])
