"""Estimates how long a bulk request of n calls takes, and how many calls it should contain.

The API works on one item after another, so a request of n calls takes about a + b·n seconds: a for
the network, b for each item. The client keeps a mean duration for each power of two of n, and fits
a line through these means, recent ones with more weight. With means of one size only, b is unknown:
the next request is smaller, to find out.

A request may take at most half a second, and half of the timeout. It should also keep no call
waiting much longer than direct calls would: w direct calls are limited by the CPU time that each
one costs the client, and by the number of connections. If even small requests take more than twice
that time, bulk requests are not worth it, and calls are sent directly. Now and then a small bulk
request checks whether that is still so. If it is much faster than expected, the API has changed,
and older durations of bulk requests are discarded.
"""

from __future__ import annotations

import math

_MAX_SECONDS = 0.5
# Size of the first bulk request: half a second, if an item takes 20 ms.
_FIRST_SIZE = 25
# A second size is this many times smaller.
_STEP = 4
_MIN_SIZE = 4
_SLOWDOWN = 2.0
# A request of this duration is never too slow. So noise does not make calls direct at a fast API.
_NOT_SLOW = 0.01
# CPU time of a direct call, see benchmarks/README.md.
_DIRECT_CALL_SECONDS = 0.0001
_SMOOTHING = 0.2
_FORGETTING = 0.98
_MIN_WEIGHT = 1e-3
# How long a response takes "usually": that of the estimate and four times the mean deviation.
_DEVIATIONS = 4.0
_MIN_RATIO = 1.5
_FIRST_ESTIMATE = 0.1
# In direct mode, how often bulk requests are tried.
_CALLS_PER_TRIAL, _SECONDS_PER_TRIAL = 1000, 10.0
_SPEEDUP = 2.0


class _Mean:
    """Mean duration of requests of similar size."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self.seconds, self.weight = float(size), seconds, 1.0

    def add(self, size: int, seconds: float) -> None:
        self.size += _SMOOTHING * (size - self.size)
        self.seconds += _SMOOTHING * (seconds - self.seconds)
        self.weight = 1.0


class LatencyModel:
    """Learns from the duration of requests.

    Args:
        request_timeout: Timeout of a request, in seconds.
        max_requests: Maximum number of bulk requests in flight.
        max_connections: Maximum number of direct calls in flight.
        max_items: Maximum number of calls in a request.
    """

    TRIAL_SIZE = _MIN_SIZE

    def __init__(
        self, request_timeout: float, max_requests: int, max_connections: int, max_items: int = 100
    ) -> None:
        self._max_items = max_items
        self._max_seconds = min(_MAX_SECONDS, request_timeout / 2)
        self._max_requests = max_requests
        self._max_connections = max_connections
        self._means: dict[int, _Mean] = {}
        self._base = self._per_item = 0.0
        self._deviation = 0.0
        self._is_stale = False
        self._direct_calls = 0
        self._trial_at = 0.0
        self._is_trial = False

    def record(self, size: int, seconds: float, now: float) -> None:
        """Learn from a request whose calls were all attempted."""
        if size > 1 and self._is_trial:
            self._is_trial = False
            if seconds < self.expected(size) / _SPEEDUP:
                self._means = {key: mean for key, mean in self._means.items() if key == 1}
        key = size.bit_length()
        mean = self._means.get(key)
        if size > 1 or mean is None:
            self._forget()
        if mean is None:
            self._means[key] = _Mean(size, seconds)
        else:
            self._deviation += _SMOOTHING * (abs(seconds - mean.seconds) - self._deviation)
            mean.add(size, seconds)
        self._is_stale = True
        if size > 1:
            self._postpone_trial(now)
        else:
            self._direct_calls += 1

    def _forget(self) -> None:
        """Give older means less weight. Direct calls alone say nothing about bulk requests."""
        for key, mean in [*self._means.items()]:
            mean.weight *= _FORGETTING
            if mean.weight < _MIN_WEIGHT:
                del self._means[key]

    def _fit(self) -> None:
        self._is_stale = False
        means = self._means.values()
        total = sum(mean.weight for mean in means)
        size = sum(mean.weight * mean.size for mean in means) / total
        seconds = sum(mean.weight * mean.seconds for mean in means) / total
        variance = sum(mean.weight * (mean.size - size) ** 2 for mean in means)
        slope = 0.0
        if variance:
            slope = sum(m.weight * (m.size - size) * (m.seconds - seconds) for m in means)
            slope = max(0.0, slope / variance)
        self._per_item = slope
        self._base = max(0.0, seconds - slope * size)

    def expected(self, size: int) -> float:
        """Return how long a request of this size takes on average."""
        if not self._means:
            return _FIRST_ESTIMATE
        if self._is_stale:
            self._fit()
        return self._base + self._per_item * size

    def usual_maximum(self, size: int) -> float:
        """Return how long a request of this size takes at most, usually."""
        expected = self.expected(size)
        return max(_MIN_RATIO * expected, expected + _DEVIATIONS * self._deviation)

    def max_size(self, calls: int) -> int:
        """Return how many calls the next request should contain.

        Args:
            calls: Calls that wait or are in flight.

        Returns:
            The number; 1 if calls should be sent directly, without waiting for each other.
        """
        if not self._means:
            return _FIRST_SIZE
        if len(self._means) == 1:
            [mean] = self._means.values()
            return _FIRST_SIZE if mean.size < _STEP else max(2, int(mean.size) // _STEP)
        longest = max(_NOT_SLOW, _SLOWDOWN * self._direct_seconds(calls))
        size = self._size_within(min(longest, self._max_seconds))
        rounds = math.ceil(calls / (self._max_requests * size))
        is_worth_it = size >= min(_MIN_SIZE, self._max_items)
        return size if is_worth_it and rounds * self.expected(size) <= longest else 1

    def is_trial_due(self, now: float) -> bool:
        """Whether a bulk request should be tried although calls are sent directly."""
        return self._direct_calls >= _CALLS_PER_TRIAL and now >= self._trial_at

    def begin_trial(self, waiting: int, now: float) -> bool:
        """Whether to try one bulk request now, because it is due and enough calls wait."""
        if waiting < self.TRIAL_SIZE or not self.is_trial_due(now):
            return False
        self._postpone_trial(now)
        self._is_trial = True
        return True

    def _postpone_trial(self, now: float) -> None:
        self._direct_calls, self._trial_at = 0, now + _SECONDS_PER_TRIAL

    def _size_within(self, seconds: float) -> int:
        room = seconds - self._base
        if room <= self._per_item:
            return 1
        return (
            int(min(self._max_items, room / self._per_item)) if self._per_item else self._max_items
        )

    def _direct_seconds(self, calls: int) -> float:
        """Return how long these calls would take as direct calls."""
        rounds = math.ceil(calls / self._max_connections)
        return max(_DIRECT_CALL_SECONDS * calls, rounds * self.expected(1))
