"""Adapts a batch to what the API can take: how many requests are in flight, and how large.

The number of requests in flight grows by one per round of good responses and halves on overload
(AIMD, as in TCP). The size of a request has a ceiling that falls to half when a request times out
or is refused as too large. After a timeout the ceiling grows by one item per response, and only
while responses take less than half of the time that they may take: so it settles below the size
that would time out again. Within the ceiling the size follows the share of items that fail, since
the API stops at the first failed item and everything after it is sent again.
"""

from __future__ import annotations

import random

from prefactor_http._bulk.options import BatchOptions
from prefactor_http.config import HttpClientConfig

_INITIAL_LIMIT = 2.0
_SLOW = 3.0
_SMOOTHING = 0.9
_FAILURES_PER_REQUEST = 2.0
_MAX_EXPONENT = 64  # larger ones do not wait longer, and must not overflow


class ConcurrencyController:
    """Decides how many requests are in flight and how many items are in one.

    Args:
        options: Bounds of the batch.
        config: Delays and timeout of the client.

    Attributes:
        max_bytes: Largest request now, in bytes.
    """

    def __init__(self, options: BatchOptions, config: HttpClientConfig) -> None:
        self.max_bytes = options.max_chunk_bytes
        self._config = config
        self._max_limit = options.concurrency
        self._chunk_size = options.chunk_size
        self._limit = min(_INITIAL_LIMIT, options.concurrency)
        self._max_items = options.chunk_size
        self._bad_share = 0.0
        self._usual_seconds: float | None = None
        self._backed_off_until = 0.0
        self._proven_size = 0
        self._proven_at = 0.0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def items(self) -> int:
        """Items that the next request may contain.

        With one bad item in ten, a request contains twenty: with fewer, there would be more
        requests; with more, items would only be sent in vain.
        """
        if self._bad_share <= _FAILURES_PER_REQUEST / self._chunk_size:
            return self._max_items
        return max(1, min(self._max_items, int(_FAILURES_PER_REQUEST / self._bad_share)))

    def record_response(
        self, now: float, seconds: float, size: int, worked: int, failed: int
    ) -> None:
        """Learn from a successful response.

        Args:
            now: When it came.
            seconds: How long it took.
            size: Items in the request.
            worked: Items that the API worked on.
            failed: Those of them that failed.
        """
        weight = _SMOOTHING ** max(1, worked // 8)
        self._bad_share = weight * self._bad_share + (1 - weight) * failed / max(1, worked)
        if size >= self._max_items:
            self._proven_size, self._proven_at = size, now
            if seconds < self._config.request_timeout / 2:
                self._max_items = min(self._chunk_size, self._max_items + 1)
        usual = self._usual_seconds
        self._usual_seconds = (
            seconds if usual is None else _SMOOTHING * usual + (1 - _SMOOTHING) * seconds
        )
        if usual is not None and seconds > _SLOW * usual:
            self._limit = max(1.0, self._limit * _SMOOTHING)
        else:
            self._limit = min(self._max_limit, self._limit + 1 / self._limit)

    def record_timeout(self, started: float, size: int) -> bool:
        """Make requests smaller than one that has timed out, unless others as large succeed.

        Args:
            started: When it was sent.
            size: Items in it.

        Returns:
            Whether requests are smaller now.
        """
        if self._proven_size >= size and self._proven_at >= started:
            return False
        self._max_items = max(1, min(self._max_items, size // 2))
        return True

    def record_too_large(self, size: int) -> None:
        """Make all later requests smaller than one that the server refused, of that many bytes."""
        self.max_bytes = max(1, min(self.max_bytes, size // 2))

    def back_off(self, now: float) -> None:
        """Halve the requests in flight, once for all failures of one moment."""
        if now >= self._backed_off_until:
            self._limit = max(1.0, self._limit / 2)
            self._backed_off_until = now + (self._usual_seconds or 0.0)

    def backoff(self, attempts: int) -> float:
        """Return how many seconds to wait after that many failed attempts."""
        config = self._config
        exponent = min(max(0, attempts - 1), _MAX_EXPONENT)
        bound = config.initial_retry_delay * config.retry_multiplier**exponent
        return random.uniform(0.5, 1.0) * min(config.max_retry_delay, bound)
