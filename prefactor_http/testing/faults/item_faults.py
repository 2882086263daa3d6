"""Which items of a bulk request fail for a while, though the request succeeds."""

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
"""What a transient item error can say."""


class ItemFaults:
    """Decides for each bulk item whether it fails; may be added to from any thread."""

    def __init__(self, *, rate: float, seed: int) -> None:
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"item_faults must be a share between 0 and 1, got {rate}")
        self.rate: float = rate
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._scripted: list[tuple[str | None, str]] = []

    def add(self, codes: tuple[str, ...], key: str | None) -> None:
        """Append errors for the next items with the key, or any key."""
        for code in codes:
            if code not in _STATUS:
                raise ValueError(f"code must be one of {', '.join(TRANSIENT_CODES)}, got {code!r}")
        with self._lock:
            self._scripted.extend((key, code) for code in codes)

    def clear(self) -> None:
        """Drop what is scripted and throw no more dice."""
        with self._lock:
            self._scripted.clear()
        self.rate = 0.0

    def strike(self, key: str | None) -> None:
        """Let an item pass, or not.

        Raises:
            ApiError: The item fails this time.
        """
        code = self._draw(key)
        if code is not None:
            raise ApiError(_STATUS[code], code, "Injected fault: try again.")

    def _draw(self, key: str | None) -> str | None:
        if self._scripted:
            with self._lock:
                for position, (wanted, code) in enumerate(self._scripted):
                    if wanted in (None, key):
                        del self._scripted[position]
                        return code
        if self.rate and self._dice.random() < self.rate:
            return self._dice.choice(TRANSIENT_CODES)
        return None
