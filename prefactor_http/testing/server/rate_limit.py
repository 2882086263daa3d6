"""Limits how many requests per second the server admits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from prefactor_http.testing.resources.response import ApiError


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A rate limit, enforced with a token bucket.

    Attributes:
        per_second: Sustained rate in requests per second.
        burst: Requests admitted at once after an idle period; one second's worth if omitted.
        says_when: Whether a 429 has a ``Retry-After``, in whole seconds and at least 1.
    """

    per_second: float
    burst: int | None = None
    says_when: bool = True


class TokenBucket:
    """Enforces a rate limit."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._capacity = float(limit.burst or max(1, math.ceil(limit.per_second)))
        self._tokens = self._capacity
        self._refilled_at = clock()

    def take(self) -> None:
        """Admit one request.

        Raises:
            ApiError: 429 ``rate_limited``.
        """
        now = self._clock()
        self._tokens += (now - self._refilled_at) * self._limit.per_second
        self._tokens = min(self._tokens, self._capacity)
        self._refilled_at = now
        if self._tokens < 1.0:
            wait = math.ceil((1.0 - self._tokens) / self._limit.per_second)
            retry_after = max(1, wait) if self._limit.says_when else None
            raise ApiError(429, "rate_limited", "Too many requests.", retry_after=retry_after)
        self._tokens -= 1.0
