"""Builds the error of a call that failed, with what the caller needs to know about it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prefactor_http._http.codec import GET, Call, describe
from prefactor_http._http.reporting import LOG
from prefactor_http._http.timeouts import Cause
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorHttpError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)


def build_error(
    call: Call[Any], last: PrefactorHttpError, *, is_exhausted: bool
) -> PrefactorHttpError:
    """Build the error of a call that is not attempted again.

    Args:
        call: The call.
        last: The error of its last attempt.
        is_exhausted: Whether the failure was worth a retry, but none was left.

    Returns:
        The error to raise: the last one, or one that holds it.
    """
    _annotate(last, call)
    error = last
    if is_exhausted:
        error = PrefactorRetryExhaustedError(
            f"{call.operation.name} failed {call.attempts} times, the last time with: "
            f"{describe(last)}",
            last,
        )
        error.__cause__ = last
        _annotate(error, call)
    if call.attempts > 1 or call.outcome_unknown or is_exhausted:
        LOG.log(
            logging.DEBUG if call.operation.is_retried_elsewhere else logging.WARNING,
            "%s %s gave up after %d attempts: %s%s",
            call.operation.method,
            call.path,
            call.attempts,
            describe(last),
            ", outcome unknown" if call.outcome_unknown else "",
        )
    return error


def interrupted(call: Call[Any], cause: Cause, deadline: float) -> PrefactorHttpError:
    """Build the error of a call that was interrupted as a whole.

    Args:
        call: The call.
        cause: Why it was interrupted.
        deadline: Its deadline, in seconds.
    """
    error: PrefactorHttpError
    if cause is Cause.CLOSING:
        error = PrefactorClientError("the client was closed during the call")
    else:
        error = PrefactorTimeoutError(f"deadline of {deadline:g} s exceeded")
    call.outcome_unknown |= call.in_flight and call.operation.method != GET
    return build_error(call, error, is_exhausted=False)


def annotate_cancellation(call: Call[Any], exc: asyncio.CancelledError) -> None:
    """Tell with a cancellation from outside whether the write may have been applied.

    The exception also gets the attributes ``idempotency_key`` and ``outcome_unknown``.
    """
    if call.operation.method == GET:
        return
    unknown = call.outcome_unknown or call.in_flight
    state = "may have been applied" if unknown else "was not applied"
    if not call.attempts:
        state = "was not sent"
    key = f"idempotency key {call.key}" if call.key else "each item has its own idempotency key"
    exc.add_note(f"{call.operation.name} was cancelled: it {state} ({key})")
    vars(exc).update(idempotency_key=call.key, outcome_unknown=unknown)


def _annotate(error: PrefactorHttpError, call: Call[Any]) -> None:
    error.method = call.operation.method
    error.path = call.path
    error.attempts = call.attempts
    error.idempotency_key = call.key
    error.outcome_unknown = call.outcome_unknown
    error.add_note(
        f"{call.operation.method} {call.path}, {call.attempts} attempt(s)"
        + (": it may have succeeded on the server" if call.outcome_unknown else "")
    )
