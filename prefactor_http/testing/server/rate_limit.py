"""How many requests a second the server bears."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from prefactor_http.testing.resources.response import ApiError


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: so many requests a second, and so many at once.

    Attributes:
        per_second: Requests a second in the long run.
        burst: Requests at once after a quiet time; as many as a second brings where omitted.
        says_when: Whether the 429 names a ``Retry-After``: whole seconds, at least one.
    """

    per_second: float
    burst: int | None = None
    says_when: bool = True


class TokenBucket:
    """Keeps a rate limit."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._room = float(limit.burst or max(1, math.ceil(limit.per_second)))
        self._level = self._room
        self._filled_at = clock()

    def take(self) -> None:
        """Let one request through.

        Raises:
            ApiError: 429 ``rate_limited``.
        """
        now = self._clock()
        self._level += (now - self._filled_at) * self._limit.per_second
        self._level = min(self._level, self._room)
        self._filled_at = now
        if self._level < 1.0:
            wait = math.ceil((1.0 - self._level) / self._limit.per_second)
            retry_after = max(1, wait) if self._limit.says_when else None
            raise ApiError(429, "rate_limited", "Too many requests.", retry_after=retry_after)
        self._level -= 1.0
