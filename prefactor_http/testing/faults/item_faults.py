"""Transient errors of single items in a bulk request that itself succeeds."""

from __future__ import annotations

import random
import threading

from prefactor_http.testing.resources.response import ApiError

_STATUS = {
    "idempotency_in_progress": 409,
    "rate_limited": 429,
    "internal_server_error": 500,
    "service_unavailable": 503,
}
TRANSIENT_CODES = tuple(_STATUS)
"""The error codes of transient item errors."""


class ItemFaults:
    """Decides whether a bulk item fails. Faults may be added from any thread."""

    def __init__(self, *, rate: float, seed: int) -> None:
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"item_faults must be between 0 and 1, got {rate}")
        self.rate: float = rate
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._scripted: list[tuple[str | None, str]] = []

    def add(self, codes: tuple[str, ...], key: str | None) -> None:
        """Add errors for the next items with this key, or with any key if it is None."""
        for code in codes:
            if code not in _STATUS:
                raise ValueError(f"code must be one of {', '.join(TRANSIENT_CODES)}, got {code!r}")
        with self._lock:
            self._scripted.extend((key, code) for code in codes)

    def clear(self) -> None:
        """Remove all scripted errors and stop random ones."""
        with self._lock:
            self._scripted.clear()
        self.rate = 0.0

    def raise_next(self, key: str | None) -> None:
        """Raise the error that is due for an item, if any.

        Raises:
            ApiError: The item fails.
        """
        code = self._next_code(key)
        if code is not None:
            raise ApiError(_STATUS[code], code, "Injected fault: try again.")

    def _next_code(self, key: str | None) -> str | None:
        if self._scripted:
            with self._lock:
                for position, (wanted, code) in enumerate(self._scripted):
                    if wanted in (None, key):
                        del self._scripted[position]
                        return code
        if self.rate and self._random.random() < self.rate:
            return self._random.choice(TRANSIENT_CODES)
        return None
