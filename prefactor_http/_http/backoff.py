"""Exponential backoff with jitter."""

from __future__ import annotations

import random

from prefactor_http.config import HttpClientConfig

_MIN_JITTER = 0.5


def backoff(config: HttpClientConfig, retry: int) -> float:
    """Return the seconds to wait before a retry; `retry` is 0 for the first one.

    The upper bound grows from `initial_retry_delay` to `max_retry_delay`. The jitter leaves at
    least half of it, so that the default of three retries outlasts a restart of the API: they take
    at least 3.5 seconds.
    """
    try:
        bound = config.initial_retry_delay * config.retry_multiplier**retry
    except OverflowError:
        bound = config.max_retry_delay
    return random.uniform(_MIN_JITTER, 1.0) * min(config.max_retry_delay, bound)
