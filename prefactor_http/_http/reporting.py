"""Reports attempts, retries and throttling: to the log, the caller's hooks and instrumentation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from prefactor_http._http.codec import PreparedRequest, describe, request_id
from prefactor_http._http.observer import installed
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.response import Failure, Response
from prefactor_http.events import Attempt, Retry, Throttling
from prefactor_http.exceptions import PrefactorApiError, PrefactorHttpError

LOG = logging.getLogger("prefactor_http")

E = TypeVar("E")


def report_attempt(
    prepared: PreparedRequest[Any],
    response: Response | Failure,
    outcome: object,
    seconds: float,
    redactor: Redactor,
    hook: Callable[[Attempt], object] | None,
    *,
    is_instrumented: bool,
) -> None:
    """Report an attempt.

    Args:
        prepared: The call.
        response: The response, or the failure of an attempt without one.
        outcome: The result, or a `Failure`.
        seconds: Duration of the attempt.
        redactor: Removes the token from the request id.
        hook: `HttpClientConfig.on_attempt`.
        is_instrumented: Whether the session reports its requests to OpenTelemetry itself.
    """
    attempt = Attempt(
        operation=prepared.operation.name,
        method=prepared.operation.method,
        path=prepared.path,
        number=prepared.attempts,
        status=response.status,
        error=describe(outcome.error) if isinstance(outcome, Failure) else None,
        seconds=seconds,
        idempotency_key=prepared.key,
        request_id=None if isinstance(response, Failure) else request_id(response, redactor),
        items=prepared.items,
    )
    LOG.debug(
        "%s %s attempt %d: %s in %.1f ms (key %s)",
        attempt.method,
        attempt.path,
        attempt.number,
        attempt.error or attempt.status,
        seconds * 1000,
        attempt.idempotency_key,
    )
    if installed.observer is not None:
        prepared.status = response.status
        installed.observer.on_attempt(attempt, is_instrumented=is_instrumented)
    _call(hook, attempt, "on_attempt")


def report_retry(retry: Retry, hook: Callable[[Retry], object] | None) -> None:
    """Report a retry before the wait for it."""
    limit = "" if retry.max_retries is None else f" of {retry.max_retries}"
    LOG.info(
        "%s: %s, retry %d%s in %.2f s",
        retry.operation,
        retry.reason if retry.reason.isdecimal() else retry.error.removeprefix(f"{retry.reason}: "),
        retry.number,
        limit,
        retry.wait_for,
    )
    if installed.observer is not None:
        installed.observer.on_retry(retry)
    _call(hook, retry, "on_retry")


def report_throttling(throttling: Throttling, hook: Callable[[Throttling], object] | None) -> None:
    """Report that throttling has started or ended."""
    if throttling.started:
        LOG.info(
            "%s: throttled after %s, next call in %.2f s",
            throttling.operation,
            throttling.reason,
            throttling.wait_for,
        )
    else:
        LOG.info("%s: no longer throttled, after %.2f s", throttling.operation, throttling.seconds)
    if installed.observer is not None:
        installed.observer.on_throttling(throttling)
    _call(hook, throttling, "on_throttle")


def retry_reason(error: PrefactorHttpError) -> str:
    """Return the status of an error response, otherwise the name of the error."""
    if isinstance(error, PrefactorApiError):
        return str(error.status_code)
    return type(error).__name__


def _call(hook: Callable[[E], object] | None, event: E, name: str) -> None:
    if hook is None:
        return
    try:
        hook(event)
    except Exception:  # an error in the hook must not change the outcome of the call
        LOG.exception("%s raised", name)
