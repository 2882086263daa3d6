"""Adapts the number and the size of a batch's requests to what the API can handle.

The number of requests in flight grows by one per round of good responses and halves on overload
(AIMD, as in TCP). The size of a request has a ceiling that falls to half when a request times out
or is refused as too large. A single timeout between successes of the same size does not lower it:
the request was lost, not too large. After a timeout the ceiling grows by one item per response, but
only while responses take less than half of the request timeout, so it stays below the size that
would time out again. Within the ceiling the size follows the share of items that fail, since the
API stops at the first failed item and everything after it is sent again.
"""

from __future__ import annotations

import random

from prefactor_http._bulk.options import BatchOptions
from prefactor_http.config import HttpClientConfig

_INITIAL_LIMIT = 2.0
_SLOW_FACTOR = 3.0
_SMOOTHING = 0.9
_MAX_FAILURES_PER_REQUEST = 2.0
_MAX_EXPONENT = 64  # avoids an overflow; the delay has reached its maximum long before


class ConcurrencyController:
    """Decides how many requests are in flight and how many items are in one.

    Args:
        options: Bounds of the batch.
        config: Delays and timeout of the client.

    Attributes:
        max_bytes: Current maximum size of a request, in bytes.
    """

    def __init__(self, options: BatchOptions, config: HttpClientConfig) -> None:
        self.max_bytes = options.max_chunk_bytes
        self._config = config
        self._max_limit = options.concurrency
        self._chunk_size = options.chunk_size
        self._limit = min(_INITIAL_LIMIT, options.concurrency)
        self._size_limit = options.chunk_size
        self._failure_rate = 0.0
        self._average_seconds: float | None = None
        self._backed_off_until = 0.0
        self._proven_size = 0
        self._proven_at = 0.0

    @property
    def limit(self) -> int:
        """Current maximum number of requests in flight."""
        return int(self._limit)

    @property
    def max_items(self) -> int:
        """Items that the next request may contain.

        If one item in ten fails, a request contains twenty. Smaller requests would be more
        requests; larger ones would mostly carry items that the API does not reach.
        """
        if self._failure_rate <= _MAX_FAILURES_PER_REQUEST / self._chunk_size:
            return self._size_limit
        return max(1, min(self._size_limit, int(_MAX_FAILURES_PER_REQUEST / self._failure_rate)))

    def record_response(
        self, now: float, seconds: float, size: int, attempted: int, failed: int
    ) -> None:
        """Adapt to a successful response.

        Args:
            now: Current time.
            seconds: How long the request took.
            size: Items in the request.
            attempted: Items that the API attempted.
            failed: Those of them that failed.
        """
        weight = _SMOOTHING ** max(1, attempted // 8)
        self._failure_rate = weight * self._failure_rate + (1 - weight) * failed / max(1, attempted)
        if size >= self._proven_size:
            self._proven_size, self._proven_at = size, now
        if size >= self._size_limit and seconds < self._config.request_timeout / 2:
            self._size_limit = min(self._chunk_size, self._size_limit + 1)
        average = self._average_seconds
        self._average_seconds = (
            seconds if average is None else _SMOOTHING * average + (1 - _SMOOTHING) * seconds
        )
        if average is not None and seconds > _SLOW_FACTOR * average:
            self._limit = max(1.0, self._limit * _SMOOTHING)
        else:
            self._limit = min(self._max_limit, self._limit + 1 / self._limit)

    def record_timeout(self, started: float, size: int) -> bool:
        """Reduce the size of requests after a timeout, unless others of that size succeed.

        A success that ended during the request always counts. An earlier one counts for one
        timeout, because the API may have become slow since.

        Args:
            started: When the request was sent.
            size: Items in the request.

        Returns:
            Whether the size was reduced.
        """
        if self._proven_size >= size:
            if self._proven_at < started:
                self._proven_size = size - 1
            return False
        self._size_limit = max(1, min(self._size_limit, size // 2))
        self._proven_size = 0
        return True

    def record_too_large(self, size: int) -> None:
        """Halve the maximum size after the server refused a request of `size` bytes."""
        self.max_bytes = max(1, min(self.max_bytes, size // 2))

    def back_off(self, now: float) -> None:
        """Halve the number of requests in flight, once for failures that occur together."""
        if now >= self._backed_off_until:
            self._limit = max(1.0, self._limit / 2)
            self._backed_off_until = now + (self._average_seconds or 0.0)

    def backoff(self, attempts: int) -> float:
        """Return the delay in seconds after that many failed attempts, with jitter."""
        config = self._config
        exponent = min(max(0, attempts - 1), _MAX_EXPONENT)
        bound = config.initial_retry_delay * config.retry_multiplier**exponent
        return random.uniform(0.5, 1.0) * min(config.max_retry_delay, bound)
