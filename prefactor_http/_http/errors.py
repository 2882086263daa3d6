"""Builds the errors of failed calls."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prefactor_http._http.codec import GET, PreparedRequest, describe
from prefactor_http._http.reporting import LOG
from prefactor_http._http.timeouts import CancelReason
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorHttpError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)


def build_error(
    prepared: PreparedRequest[Any], last: PrefactorHttpError, *, is_exhausted: bool
) -> PrefactorHttpError:
    """Build the error of a call that is not retried, and log it.

    Args:
        prepared: The call.
        last: The error of its last attempt.
        is_exhausted: Whether the failure is retryable, but no retry is left.

    Returns:
        The error to raise: `last`, or a `PrefactorRetryExhaustedError` that contains it.
    """
    _annotate(last, prepared)
    error = last
    if is_exhausted:
        error = PrefactorRetryExhaustedError(
            f"{prepared.operation.name} failed after {_attempts(prepared)}; last error: "
            f"{describe(last)}",
            last,
        )
        error.__cause__ = last
        _annotate(error, prepared)
    if prepared.attempts > 1 or prepared.outcome_unknown or is_exhausted:
        LOG.log(
            logging.DEBUG if prepared.operation.is_retried_elsewhere else logging.WARNING,
            "%s %s gave up after %s: %s%s",
            prepared.operation.method,
            prepared.path,
            _attempts(prepared),
            describe(last),
            ", outcome unknown" if prepared.outcome_unknown else "",
        )
    return error


def interruption_error(
    prepared: PreparedRequest[Any], reason: CancelReason, deadline: float
) -> PrefactorHttpError:
    """Build the error of a call that closing the client or its deadline (seconds) interrupted."""
    error: PrefactorHttpError
    if reason is CancelReason.CLOSING:
        error = PrefactorClientError("the client was closed during the call")
    else:
        error = PrefactorTimeoutError(f"deadline of {deadline:g} s exceeded")
    prepared.outcome_unknown |= prepared.in_flight and prepared.operation.method != GET
    return build_error(prepared, error, is_exhausted=False)


def annotate_cancellation(prepared: PreparedRequest[Any], exc: asyncio.CancelledError) -> None:
    """Add a note to a cancellation that says whether the write may have been applied.

    The exception also gets the attributes ``idempotency_key`` and ``outcome_unknown``.
    """
    if prepared.operation.method == GET:
        return
    unknown = prepared.outcome_unknown or prepared.in_flight
    state = "may have been applied" if unknown else "was not applied"
    if not prepared.attempts:
        state = "was not sent"
    if not prepared.operation.repeatable:
        key = "it has no idempotency key"
    elif prepared.key:
        key = f"idempotency key {prepared.key}"
    else:
        key = "each item has its own idempotency key"
    exc.add_note(f"{prepared.operation.name} was cancelled: it {state} ({key})")
    vars(exc).update(idempotency_key=prepared.key, outcome_unknown=unknown)


def _annotate(error: PrefactorHttpError, prepared: PreparedRequest[Any]) -> None:
    error.method = prepared.operation.method
    error.path = prepared.path
    error.attempts = prepared.attempts
    error.idempotency_key = prepared.key
    error.outcome_unknown = prepared.outcome_unknown
    error.add_note(
        f"{prepared.operation.method} {prepared.path}, {_attempts(prepared)}"
        + (": it may have succeeded on the server" if prepared.outcome_unknown else "")
    )


def _attempts(prepared: PreparedRequest[Any]) -> str:
    return f"{prepared.attempts} attempt{'' if prepared.attempts == 1 else 's'}"
