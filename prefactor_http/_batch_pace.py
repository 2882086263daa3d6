"""How many requests of a batch are in flight, and how many items travel in one."""

from __future__ import annotations

import random

from prefactor_http._batch_options import BatchOptions
from prefactor_http.config import HttpClientConfig

_FIRST_LIMIT = 2.0
_SLOW = 3.0
_MEMORY = 0.9
_WORTH = 2.0
_MOST_TRIES = 64  # further ones do not wait longer, and must not overflow


class Pace:
    """Feels out what the API bears: more after good replies, less after a refusal or delay (AIMD).

    Args:
        options: The bounds of the batch.
        config: The delays of the client, for waits of the batch's own.
    """

    def __init__(self, options: BatchOptions, config: HttpClientConfig) -> None:
        self.max_bytes = options.max_chunk_bytes
        self._config = config
        self._concurrency = concurrency = options.concurrency
        self._chunk_size = chunk_size = options.chunk_size
        self._limit = min(_FIRST_LIMIT, concurrency)
        self._cap = chunk_size
        self._bad_share = 0.0
        self._usual_seconds: float | None = None
        self._quiet_until = 0.0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def items(self) -> int:
        """Items that may travel in the next request.

        The API stops at the first bad item, and all after it travel again. So with one bad item in
        ten a request holds twenty: fewer would cost more requests, more would only be carried.
        """
        worth = int(_WORTH / self._bad_share) if self._bad_share > _WORTH / self._chunk_size else 0
        return max(1, min(self._cap, worth or self._cap))

    def note_reply(self, seconds: float, worked: int, bad: int) -> None:
        """Take note of a reply.

        Args:
            seconds: How long it took.
            worked: Items that the API worked on.
            bad: Those of them that failed.
        """
        share = bad / max(1, worked)
        weight = _MEMORY ** max(1, worked // 8)
        self._bad_share = weight * self._bad_share + (1 - weight) * share
        self._cap = min(self._chunk_size, self._cap * 2)
        usual = self._usual_seconds
        self._usual_seconds = seconds if usual is None else _MEMORY * usual + 0.1 * seconds
        if usual is not None and seconds > _SLOW * usual:
            self._limit = max(1.0, self._limit * _MEMORY)
        else:
            self._limit = min(self._concurrency, self._limit + 1 / self._limit)

    def back_off(self, now: float) -> None:
        """Halve the requests in flight, once for all refusals of one moment."""
        if now >= self._quiet_until:
            self._limit = max(1.0, self._limit / 2)
            self._quiet_until = now + (self._usual_seconds or 0.0)

    def cut(self, items: int, size: int, *, too_large: bool) -> None:
        """Make the next requests smaller than one that was refused as a whole.

        Args:
            items: Items that it held.
            size: Bytes that it had.
            too_large: Whether its size was the reason: then no later one is as large, either.
        """
        self._cap = max(1, items // 2)
        if too_large:
            self.max_bytes = max(1, min(self.max_bytes, size // 2))

    def backoff(self, tries: int) -> float:
        """Tell how many seconds to wait before another try."""
        config = self._config
        bound = config.initial_retry_delay * config.retry_multiplier ** min(tries, _MOST_TRIES)
        return random.uniform(0.5, 1.0) * min(config.max_retry_delay, bound)
