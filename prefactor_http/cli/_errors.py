"""What an error of the client means for the person who typed the command, and what to do next.

The only place of the command that puts errors of the client into words.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import cast

from prefactor_http.cli._problems import Problem, Refused, Unsettled
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorConflictError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
    is_transient_http_error,
)

MAYBE = "It may have succeeded on the server."
_INVALID_ACTION = "invalid_action"
_NO_CODE = "unknown"  # the response was not the API's own


def error_text(error: Exception | None) -> str:
    """Say in a line what went wrong."""
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return f"{error.attempts} attempts failed, the last with: {error_text(error.last_error)}"
    if isinstance(error, PrefactorApiError):
        return _api_text(error)
    if isinstance(error, PrefactorTimeoutError):
        return "the API did not answer in time"
    return str(error)


def error_group(error: Exception | None) -> Hashable:
    """Give what errors that mean the same have in common, whatever request they belong to."""
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return error_group(error.last_error)
    if isinstance(error, PrefactorApiError):
        return (error.status_code, error.code, _details_of(error))
    return (type(error), error_text(error))


def problem_of(error: PrefactorHttpError, if_unknown: str | None) -> Problem:
    """Say what an error means and what to do next.

    Args:
        error: The error of a call.
        if_unknown: For a write, what to do when its outcome is unknown.
    """
    last = error.last_error if isinstance(error, PrefactorRetryExhaustedError) else error
    api_error = last if isinstance(last, PrefactorApiError) else None
    further: list[str] = []
    if error.outcome_unknown:
        further.append(MAYBE)
    elif if_unknown is not None:
        further.append("Nothing was changed.")
    next_step = if_unknown if error.outcome_unknown else _next_step(last)
    if next_step is not None:
        further.append(next_step)
    is_refusal = isinstance(error, PrefactorApiError)
    text = error_text(error)
    return _kind_of(error)(
        f"the API refused it: {text}" if is_refusal else text,
        *further,
        error=type(error).__name__,
        status_code=None if api_error is None else api_error.status_code,
        code=None if api_error is None else api_error.code,
        errors={} if api_error is None else api_error.errors,
        retry_after=None if api_error is None else api_error.retry_after,
        request_id=None if api_error is None else api_error.request_id,
        method=error.method,
        path=error.path,
        attempts=error.attempts,
        idempotency_key=error.idempotency_key,
        outcome_unknown=error.outcome_unknown,
    )


def _api_text(error: PrefactorApiError) -> str:
    text = _details_of(error)
    if error.code != _NO_CODE:
        text = f"{error.status_code} {error.code}: {text}"
    return text if error.request_id is None else f"{text} (request {error.request_id})"


def _details_of(error: PrefactorApiError) -> str:
    errors = cast("Mapping[str, object]", error.errors)
    fields = "; ".join(f"{field} {_flat(problems)}" for field, problems in errors.items())
    return fields or getattr(error, "message", None) or str(error)


def _flat(problems: object) -> str:
    if isinstance(problems, list):
        return ", ".join(map(str, cast("list[object]", problems)))
    return str(problems)


def _kind_of(error: PrefactorHttpError) -> type[Problem]:
    if error.outcome_unknown or is_transient_http_error(error):
        return Unsettled
    return Refused if isinstance(error, PrefactorApiError) else Unsettled


def _next_step(error: Exception | None) -> str | None:
    if isinstance(error, PrefactorApiError):
        step = _next_step_after_answer(error)
        if step is not None:
            return step
    if isinstance(error, PrefactorConnectionError) and error.certificate_error:
        return (
            "If a proxy or an authority of your own signs certificates, set SSL_CERT_FILE to the "
            "file of its certificate."
        )
    if isinstance(error, PrefactorResponseContractError):
        return "Check PREFACTOR_API_URL: is it the address of the Prefactor API?"
    if error is not None and is_transient_http_error(error):
        return "Check the network, PREFACTOR_API_URL and the proxy variables, then try again."
    return None


def _next_step_after_answer(error: PrefactorApiError) -> str | None:
    if isinstance(error, PrefactorAuthError):
        return "Check PREFACTOR_API_TOKEN: is it active, and does it allow this call?"
    if isinstance(error, PrefactorNotFoundError):
        return "Check the id, and that the token belongs to the same account."
    if isinstance(error, PrefactorConflictError) and error.code == _INVALID_ACTION:
        return "`prefactor-http show ID` shows its state."
    if error.retry_after is not None:
        return f"Try again in {error.retry_after:g} seconds."
    return None
