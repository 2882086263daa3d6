"""A client's retry budget: it bounds the retries of calls that fail in the end."""

from __future__ import annotations

from prefactor_http._http.codec import TOO_MANY_REQUESTS
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http.config import HttpClientConfig

FIRST_SUCCESS = 1
_RETRY_COST, _TIMEOUT_COST = 5, 10
# Tokens per connection. When the API restarts, a call is retried twice on average, which costs 10
# tokens. So the budget suffices for ten calls per connection that wait for the API at a time.
_TOKENS_PER_CONNECTION = 100


def retry_cost(failure: Failure) -> int:
    """Return the tokens that a retry after a failure costs.

    A request that was not sent has cost the API nothing, so its retry costs nothing either. Nor
    does one after a 429, since the rate limiter spaces these out.
    """
    if failure.write_status is WriteStatus.NOT_SENT or failure.status == TOO_MANY_REQUESTS:
        return 0
    return _TIMEOUT_COST if failure.timed_out else _RETRY_COST


class RetryBudget:
    """A bucket of tokens, emptied by retries and filled by successes.

    A call that gets an answer in the end returns what its retries cost; one that needed no retry
    adds 1. So the bucket stays full while calls succeed, however many attempts they need. While
    the API is down for long, a client makes a limited number of retries and then one attempt per
    call, instead of multiplying its load.

    Args:
        config: Tells the size of the bucket, which is full at first.
    """

    def __init__(self, config: HttpClientConfig) -> None:
        size = config.retry_budget
        if size == "auto":
            size = _TOKENS_PER_CONNECTION * config.max_connections
        self._size = size
        self._tokens = size or 0

    def withdraw(self, tokens: int) -> bool:
        """Take tokens for a retry.

        Returns:
            Whether the bucket held that many.
        """
        if self._size is None:
            return True
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def deposit(self, tokens: int) -> None:
        """Return tokens after a success."""
        if self._size is not None and self._tokens < self._size:
            self._tokens = min(self._size, self._tokens + tokens)
