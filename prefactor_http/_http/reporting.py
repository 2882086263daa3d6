"""What a client tells about its attempts: a line in the log, and the caller's hook."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from prefactor_http._http.codec import Call, describe
from prefactor_http._http.response import Failure
from prefactor_http.events import Attempt

LOG = logging.getLogger("prefactor_http")


def report(
    call: Call[Any],
    outcome: object,
    status: int | None,
    seconds: float,
    hook: Callable[[Attempt], object] | None,
) -> None:
    """Tell about one attempt.

    Args:
        call: The call.
        outcome: The result, or a `Failure`.
        status: HTTP status of the reply, if there was one.
        seconds: How long the attempt took.
        hook: The caller's `HttpClientConfig.on_attempt`.
    """
    error = describe(outcome.error) if isinstance(outcome, Failure) else None
    LOG.debug(
        "%s %s attempt %d: %s in %.1f ms (key %s)",
        call.operation.method,
        call.path,
        call.attempts,
        error or status,
        seconds * 1000,
        call.key,
    )
    if hook is None:
        return
    try:
        hook(
            Attempt(
                operation=call.operation.name,
                method=call.operation.method,
                path=call.path,
                number=call.attempts,
                status=status,
                error=error,
                seconds=seconds,
                idempotency_key=call.key,
            )
        )
    except Exception:  # whatever a hook of the caller's raises
        # The hook watches; what it does wrong must not change what the call reports.
        LOG.exception("on_attempt raised")
