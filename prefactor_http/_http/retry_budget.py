"""Retry budget: limits the retries of a client while its calls keep failing."""

from __future__ import annotations

from prefactor_http._http.codec import TOO_MANY_REQUESTS
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http.config import HttpClientConfig

FIRST_SUCCESS = 1
_RETRY_COST, _TIMEOUT_COST = 5, 10
# When the API restarts, a call is retried twice on average, which costs 10 tokens. So this is
# enough for ten waiting calls per connection.
_TOKENS_PER_CONNECTION = 100


def retry_cost(failure: Failure) -> int:
    """Return how many tokens a retry after this failure costs.

    A request that was not sent is no load on the API, so its retry is free. So is a retry after a
    429, because the rate limiter spaces those out.
    """
    if failure.write_status is WriteStatus.NOT_SENT or failure.status == TOO_MANY_REQUESTS:
        return 0
    return _TIMEOUT_COST if failure.timed_out else _RETRY_COST


class RetryBudget:
    """A token bucket that retries empty and successes refill.

    A call that is answered in the end returns the tokens of its retries; one that needed no retry
    adds one token. So the bucket stays full while calls succeed, however many attempts they need.
    In a long outage, the client makes a limited number of retries and then one attempt per call,
    instead of multiplying its load.

    Args:
        config: Contains the size of the bucket, which is full at first.
    """

    def __init__(self, config: HttpClientConfig) -> None:
        size = config.retry_budget
        if size == "auto":
            size = _TOKENS_PER_CONNECTION * config.max_connections
        self._size = size
        self._tokens = size or 0

    def withdraw(self, tokens: int) -> bool:
        """Take tokens for a retry, and return whether there were enough."""
        if self._size is None:
            return True
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def deposit(self, tokens: int) -> None:
        if self._size is not None and self._tokens < self._size:
            self._tokens = min(self._size, self._tokens + tokens)
