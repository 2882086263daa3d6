"""A pool of random idempotency keys: generating many at once is cheaper than one by one."""

from __future__ import annotations

import os

from prefactor_http._values.forks import fork_count

# A UUID (version 4): x is a random digit; of V, the variant, two bits are fixed.
_TEMPLATE = "xxxxxxxx-xxxx-4xxx-Vxxx-xxxxxxxxxxxx"
_LENGTH = len(_TEMPLATE)
_DIGITS = 32
_VARIANT = str.maketrans("0123456789abcdef", "89ab" * 4)
_POOL_SIZE = 128


class KeyPool:
    """Generates idempotency keys in advance.

    Processes that are restored from one memory snapshot would all use the pooled keys. So only
    batches use a pool, and calls that are made while others wait: an idle client has none. A forked
    child discards the keys of its parent.

    Args:
        size: How many keys are generated at once.
    """

    def __init__(self, size: int = _POOL_SIZE) -> None:
        self._size = size
        self._keys: list[str] = []
        self._fork_count = 0

    def clear(self) -> None:
        """Discard the keys."""
        self._keys.clear()

    def __call__(self) -> str:
        """Return a random UUID (version 4) as text."""
        if not self._keys or self._fork_count != fork_count():
            self._keys = _uuids(self._size)
            self._fork_count = fork_count()
        return self._keys.pop()


def _uuids(count: int) -> list[str]:
    """Generate random UUIDs column by column: one statement writes one digit of all of them."""
    digits = os.urandom(_DIGITS // 2 * count).hex()
    text = bytearray(_TEMPLATE.encode() * count)
    columns = [column for column, mark in enumerate(_TEMPLATE) if mark != "-"]
    for position, column in enumerate(columns):
        column_digits = digits[position::_DIGITS]
        if _TEMPLATE[column] == "x":
            text[column::_LENGTH] = column_digits.encode()
        elif _TEMPLATE[column] == "V":
            text[column::_LENGTH] = column_digits.translate(_VARIANT).encode()
    keys = text.decode()
    return [keys[start : start + _LENGTH] for start in range(0, len(keys), _LENGTH)]
