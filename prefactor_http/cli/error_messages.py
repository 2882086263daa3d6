"""Turns errors of the client into messages for the person who typed the command.

The client's messages are written for programmers; this module is the only one that rewords them.
Each message ends with what to do next.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

from msgspec import Struct

from prefactor_http.cli.errors import CommandError, RefusedError, RetryLaterError
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
# Python names in the client's messages: the method, and the option that was exceeded.
_CALL = re.compile(r"^[a-z_]+(\.[a-z_]+)?: ")
_OPTION = re.compile(r" \([a-z]+_[a-z_]+\)")


class Advice(Struct, frozen=True):
    """What a command knows about its call.

    Attributes:
        if_unknown: For a write, what to do if its outcome is unknown.
        if_foreign: The message if a server that is not the API has answered.
    """

    if_unknown: str | None = None
    if_foreign: str | None = None


def error_text(error: Exception | None) -> str:
    """Describe an error in one line, without Python names."""
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        failed = f"{error.attempts} attempts failed, the last with"
        if error.attempts == 1:
            failed = "the attempt failed"
        return f"{failed}: {error_text(error.last_error)}"
    text = str(error)
    if isinstance(error, PrefactorApiError) and error.from_api:
        return text
    if isinstance(error, PrefactorResponseContractError):
        text = without_call(text)
    return _OPTION.sub("", text).replace("api_url", "PREFACTOR_API_URL")


def without_call(text: str) -> str:
    """Remove the name of the Python method from the start of a message."""
    return _CALL.sub("", text)


def error_group(error: Exception | None) -> Hashable:
    """Return a value that is equal for errors with the same meaning, whatever their request."""
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return error_group(error.last_error)
    if isinstance(error, PrefactorApiError):
        problems = repr(error.errors) if error.errors else error.message
        return (error.status_code, error.code, problems)
    return (type(error), error_text(error))


def command_error(error: PrefactorHttpError, advice: Advice) -> CommandError:
    """Return the error of the command for an error of a call."""
    last = error.last_error if isinstance(error, PrefactorRetryExhaustedError) else error
    api_error = last if isinstance(last, PrefactorApiError) else None
    further: list[str] = []
    if error.outcome_unknown:
        further.append(MAYBE)
    elif advice.if_unknown is not None:
        further.append("Nothing was changed.")
    if error.outcome_unknown and advice.if_unknown is not None:
        further.append(advice.if_unknown)
    else:
        further.append(_next_step(last))
    return _kind_of(error)(
        _sentence(error, last, advice),
        *further,
        error=type(error).__name__,
        status_code=None if api_error is None else api_error.status_code,
        code=None if api_error is None else api_error.code,
        errors={} if api_error is None else api_error.errors,
        retry_after=_retry_after(last),
        request_id=None if api_error is None else api_error.request_id,
        method=error.method,
        path=error.path,
        attempts=error.attempts,
        idempotency_key=error.idempotency_key,
        outcome_unknown=error.outcome_unknown,
    )


def _sentence(error: PrefactorHttpError, last: Exception | None, advice: Advice) -> str:
    if advice.if_foreign is not None and _is_foreign(last):
        return f"{advice.if_foreign} ({_answer_of(last)})."
    text = error_text(error)
    if not isinstance(error, PrefactorApiError):
        return text
    return f"the API refused it: {text}" if error.from_api else f"the server answered {text}"


def _is_foreign(error: Exception | None) -> bool:
    """Return whether the server that answered does not seem to be the API."""
    if isinstance(error, PrefactorApiError):
        return not error.from_api and not is_transient_http_error(error)
    return isinstance(error, PrefactorResponseContractError)


def _answer_of(error: Exception | None) -> str:
    if not isinstance(error, PrefactorResponseContractError):
        return error_text(error)
    return f"HTTP {error.status_code}: {error.body_snippet or 'empty response body'}"


def _kind_of(error: PrefactorHttpError) -> type[CommandError]:
    if error.outcome_unknown or is_transient_http_error(error):
        return RetryLaterError
    return RefusedError if isinstance(error, PrefactorApiError) else RetryLaterError


def _retry_after(error: Exception | None) -> float | None:
    if isinstance(error, PrefactorApiError | PrefactorTimeoutError):
        return error.retry_after
    return None


def _next_step(error: Exception | None) -> str:
    if _is_foreign(error):
        return "Check PREFACTOR_API_URL: it must be the address of the Prefactor API."
    retry_after = _retry_after(error)
    if retry_after is not None:
        return f"Try again in {retry_after:g} seconds."
    if isinstance(error, PrefactorApiError):
        return _next_step_after_refusal(error)
    if isinstance(error, PrefactorConnectionError) and error.certificate_error:
        return (
            "If your network uses its own certificate authority, set SSL_CERT_FILE to the file of "
            "its certificate."
        )
    return _TRY_AGAIN


_TRY_AGAIN = "Check the network, PREFACTOR_API_URL and the proxy variables, then try again."


def _next_step_after_refusal(error: PrefactorApiError) -> str:
    if is_transient_http_error(error):
        return _TRY_AGAIN
    if isinstance(error, PrefactorAuthError):
        return "Check PREFACTOR_API_TOKEN: the token must be active and allowed to make this call."
    if isinstance(error, PrefactorNotFoundError):
        return "Check the id, and that the token belongs to the same account."
    if isinstance(error, PrefactorConflictError) and error.code == _INVALID_ACTION:
        return "To see its status, run: prefactor-http show ID"
    return "Correct the fields that the message names, then try again."
