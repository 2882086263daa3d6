"""Exponential backoff with jitter."""

from __future__ import annotations

import random

from prefactor_http.config import HttpClientConfig

_MIN_JITTER = 0.5


def backoff(config: HttpClientConfig, retry: int) -> float:
    """Choose the wait before a retry.

    The bound grows from `initial_retry_delay` to `max_retry_delay`. At least half of it is waited,
    so that the default of three retries outlasts a restart of the API: 3.5 seconds or longer.

    Args:
        config: The bounds.
        retry: 0 for the first retry.

    Returns:
        Seconds.
    """
    try:
        bound = config.initial_retry_delay * config.retry_multiplier**retry
    except OverflowError:
        bound = config.max_retry_delay
    return random.uniform(_MIN_JITTER, 1.0) * min(config.max_retry_delay, bound)
