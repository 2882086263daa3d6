"""Decides whether a failed attempt is retried, and after which delay. No I/O, no clock."""

from __future__ import annotations

from typing import Any

from prefactor_http._http.backoff import backoff
from prefactor_http._http.codec import (
    IDEMPOTENCY_IN_PROGRESS,
    TOO_EARLY,
    TOO_MANY_REQUESTS,
    PreparedRequest,
)
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorConflictError, PrefactorHttpError

# The retry after a contradiction uses a new connection. A second one is the server's own answer.
MAX_CONTRADICTIONS = 1

DEADLINE_TOO_EARLY = "not retried: the deadline ends before the next attempt"
RETRY_AFTER_TOO_LONG = "not retried: Retry-After is longer than max_retry_delay"
BUDGET_EXHAUSTED = "not retried: the client's retry budget is exhausted"


def should_retry(
    prepared: PreparedRequest[Any], failure: Failure, config: HttpClientConfig
) -> bool:
    """Whether another attempt may succeed and cannot apply the write a second time."""
    if failure.permanent:
        return False
    if failure.contradicts:
        return prepared.is_repeatable and prepared.contradictions <= MAX_CONTRADICTIONS
    if failure.status is not None and not failure.lost:
        if _is_in_progress(failure.error):
            return prepared.operation.repeatable
        if failure.status not in config.retry_on_status_codes:
            return False
        if failure.status in {TOO_MANY_REQUESTS, TOO_EARLY}:
            return True
    return failure.write_status is WriteStatus.NOT_SENT or prepared.is_repeatable


def retry_delay(
    failure: Failure, retry: int, config: HttpClientConfig, *, has_reconnected: bool
) -> float:
    """Return the seconds to wait before a retry.

    Args:
        failure: The failure of the last attempt.
        retry: Number of the retry, from 0.
        config: Bounds of the delay.
        has_reconnected: Whether an earlier retry already followed a lost connection immediately.
    """
    if failure.contradicts or (failure.disconnected and not has_reconnected):
        # A disconnect is most likely that of an idle connection, which the server had closed.
        return 0.0
    return max(backoff(config, retry), failure.retry_after or 0.0)


def is_retry_after_too_long(failure: Failure, config: HttpClientConfig) -> bool:
    """Whether the response asks to wait longer than a call may wait."""
    return failure.retry_after is not None and failure.retry_after > config.max_retry_delay


def _is_in_progress(error: PrefactorHttpError) -> bool:
    return isinstance(error, PrefactorConflictError) and error.code == IDEMPOTENCY_IN_PROGRESS
