"""A client's retry budget: retries stop when they mostly fail, so that they cannot pile up."""

from __future__ import annotations

RETRY_COST = 5
TIMEOUT_COST = 10
FIRST_SUCCESS = 1


class RetryBudget:
    """A bucket of tokens that retries empty and successes fill.

    A retry takes 5 tokens, one after a timeout 10, one after a 429 none: there the gate holds back.
    A call that the API answers in the end brings back what its retries took, and one that needed
    none brings back 1. So the bucket stays full while calls are answered in the end, however many
    attempts they need; in an outage a client stops after some hundred retries instead of
    multiplying its load, and its retries under way at any moment are bounded, too.

    Args:
        capacity: Size of the bucket, which starts full; None for no limit.
    """

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._tokens = capacity or 0

    def withdraw(self, cost: int) -> bool:
        """Pay for a retry.

        Args:
            cost: Tokens that it takes.

        Returns:
            False when the bucket does not hold that many.
        """
        if self._capacity is None:
            return True
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def deposit(self, amount: int) -> None:
        """Bring tokens back after a success."""
        if self._capacity is not None and self._tokens < self._capacity:
            self._tokens = min(self._capacity, self._tokens + amount)
