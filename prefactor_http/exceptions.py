"""Exceptions of this package.

::

    PrefactorHttpError
    ├── PrefactorApiError                  the API answered with an error
    │   ├── PrefactorAuthError             401, 403
    │   ├── PrefactorNotFoundError         404
    │   ├── PrefactorConflictError         409
    │   ├── PrefactorValidationError       400, 422
    │   └── PrefactorRateLimitError        429
    ├── PrefactorConnectionError           connection failed or lost             (a ConnectionError)
    ├── PrefactorTimeoutError              timed out, or deadline exceeded       (a TimeoutError)
    ├── PrefactorResponseContractError     successful response that breaks the API's contract
    ├── PrefactorRetryExhaustedError       all attempts failed; see last_error
    └── PrefactorClientError               client closed, misconfigured, or on another event loop

Invalid arguments raise ``ValueError`` or ``TypeError`` before any I/O. After a failed write, check
``outcome_unknown``. If it is True, the write may have succeeded on the server: repeat the call with
the error's ``idempotency_key`` to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aiohttp import ClientError

TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
"""Statuses that are retried by default."""

_OK, _SERVER_ERROR = 200, 500
_IN_PROGRESS = "idempotency_in_progress"
_MAX_DESCRIPTION = 1000
_MAX_DEPTH = 4


class PrefactorHttpError(Exception):
    """Base class of all errors of this package.

    Attributes:
        method: HTTP method of the call, or None.
        path: Path of the call, such as ``/api/v1/agent_instance/register``, or None.
        attempts: Number of attempts; 0 if the call failed before the first one.
        idempotency_key: Key that all attempts sent. Pass it again to repeat the call safely.
        outcome_unknown: True if the write may have succeeded on the server.
        retry_budget_exhausted: True if the call was not retried because the client's retry budget
            was exhausted.
    """

    method: str | None = None
    path: str | None = None
    attempts: int = 0
    idempotency_key: str | None = None
    outcome_unknown: bool = False
    retry_budget_exhausted: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Constructors differ between classes, so unpickling restores the state without them.
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(
    cls: type[PrefactorHttpError], args: tuple[Any, ...], state: dict[str, Any]
) -> PrefactorHttpError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PrefactorApiError(PrefactorHttpError):
    """The API answered with an error.

    ``str(error)`` contains the status, the code, the errors by field and the request id:
    ``422 validation_errors: external_identifier has already been taken (request 8f2c)``.

    Attributes:
        message: The API's message, truncated to 1,000 characters.
        code: The API's error code; ``"unknown"`` if the response had none.
        status_code: HTTP status of the response.
        errors: Errors by field, as the API sent them; empty if there are none.
        retry_after: Seconds that the response asked to wait, or None.
        request_id: Request id of the response, for the API's support, or None.
        body_snippet: First characters of a response that is not JSON, such as a proxy's error
            page, or None.
        from_api: True if the response is an error object of the API, False if it is something
            else, such as a proxy's error page.
    """

    retry_after: float | None = None
    request_id: str | None = None
    body_snippet: str | None = None
    from_api: bool = False

    def __init__(
        self, message: str, code: str, status_code: int, errors: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status_code = status_code
        self.errors: dict[str, Any] = {} if errors is None else errors

    def __str__(self) -> str:
        problems = "; ".join(_problems(self.errors)) or self.message
        # A bulk item with an unknown error code has no status of its own.
        kind = [f"{self.status_code}"] if self.status_code != _OK else []
        if self.code != "unknown" or self.from_api:
            kind.append(self.code)
        request = f" (request {self.request_id})" if self.request_id else ""
        return _shorten(f"{' '.join(kind)}: {problems}".removeprefix(": ")) + request


class PrefactorAuthError(PrefactorApiError):
    """The token is invalid (401) or lacks a permission (403)."""


class PrefactorNotFoundError(PrefactorApiError):
    """The resource does not exist or belongs to another account (404)."""


class PrefactorConflictError(PrefactorApiError):
    """The state of the resource does not allow the action, or a key was reused (409)."""


class PrefactorValidationError(PrefactorApiError):
    """The API refused the input (400, 422). ``errors`` contains the reasons by field."""


class PrefactorRateLimitError(PrefactorApiError):
    """Too many requests (429). ``retry_after`` is the number of seconds to wait, if known."""


class PrefactorClientError(PrefactorHttpError):
    """The client is closed, misconfigured, or used on another event loop."""


class PrefactorConnectionError(PrefactorHttpError, ConnectionError):
    """The connection failed, or was lost before the response was complete.

    Attributes:
        certificate_error: True if the server's TLS certificate was not accepted.
    """

    certificate_error: bool = False


class PrefactorTimeoutError(PrefactorHttpError, TimeoutError):
    """No response within ``request_timeout`` or ``connect_timeout``, or ``deadline`` exceeded.

    Attributes:
        retry_after: Seconds that the API asked to wait, if the deadline ends before that; None
            otherwise.
    """

    retry_after: float | None = None


class PrefactorResponseContractError(PrefactorHttpError):
    """A successful response that breaks the API's contract, such as one about another resource.

    Attributes:
        status_code: HTTP status of the response, or None.
        body_snippet: First characters of the response, or None.
        request_id: Request id of the response, or None.
        retryable: True if the body was not valid JSON. Such a response counts as lost in transit,
            so the call was retried as often as the configuration allows.
        cause: The argument of the constructor. The client does not set it; see ``__cause__``.
    """

    request_id: str | None = None
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        body_snippet: str | None = None,
        cause: Exception | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body_snippet = body_snippet
        self.cause = cause


class PrefactorRetryExhaustedError(PrefactorHttpError):
    """All allowed attempts failed with a retryable error.

    Attributes:
        last_error: The error of the last attempt.
    """

    def __init__(self, message: str, last_error: Exception | None = None) -> None:
        super().__init__(message)
        self.last_error = last_error


def is_transient_http_error(error: Exception) -> bool:
    """Whether the same call may succeed later.

    Args:
        error: Any exception, including aiohttp's.

    Returns:
        True for errors that the client retries: lost connections, timeouts, responses that are not
        valid JSON, the statuses 408, 425, 429, 500, 502, 503, 504, 520 to 524 and 529, and
        ``idempotency_in_progress``.
    """
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return is_transient_http_error(error.last_error)
    if isinstance(error, PrefactorConnectionError):
        return not error.certificate_error
    if isinstance(error, PrefactorApiError):
        return error.status_code in TRANSIENT_STATUSES or error.code == _IN_PROGRESS
    if isinstance(error, PrefactorResponseContractError):
        return error.retryable or error.status_code in TRANSIENT_STATUSES
    return isinstance(error, ClientError | TimeoutError)


def is_permanent_http_error(error: Exception) -> bool:
    """Whether repeating the same call is pointless.

    Args:
        error: Any exception.

    Returns:
        True if the API refused the call permanently or the response breaks the contract. False for
        every 5xx, and if the outcome is unknown: repeat the call with its key to find out.
    """
    if isinstance(error, PrefactorHttpError) and error.outcome_unknown:
        return False
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return is_permanent_http_error(error.last_error)
    if isinstance(error, PrefactorConnectionError):
        return error.certificate_error
    if isinstance(error, PrefactorApiError | PrefactorResponseContractError):
        is_server_error = error.status_code is not None and error.status_code >= _SERVER_ERROR
        return not is_server_error and not is_transient_http_error(error)
    return False


def _problems(errors: Mapping[str, Any], prefix: str = "", depth: int = 0) -> list[str]:
    """Format the errors of all fields as ``field problem``."""
    problems: list[str] = []
    for name, value in errors.items():
        field = f"{prefix}{name}"
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            problems += _problems(cast("Mapping[str, Any]", value), f"{field}.", depth + 1)
        else:
            values: list[object] = [value]
            if isinstance(value, list):
                values = cast("list[object]", value)
            problems.append(f"{field} {', '.join(_problem(each, depth) for each in values)}")
    return problems


def _problem(value: object, depth: int) -> str:
    if isinstance(value, Mapping | list):
        # An object in a list, or nested deeper than fields.
        nested = isinstance(value, Mapping) and depth < _MAX_DEPTH
        return "; ".join(_problems(cast("Any", value), "", depth + 1)) if nested else "…"
    return str(value)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_DESCRIPTION else f"{text[:_MAX_DESCRIPTION]}…"


__all__ = [
    "TRANSIENT_STATUSES",
    "PrefactorApiError",
    "PrefactorAuthError",
    "PrefactorClientError",
    "PrefactorConflictError",
    "PrefactorConnectionError",
    "PrefactorHttpError",
    "PrefactorNotFoundError",
    "PrefactorRateLimitError",
    "PrefactorResponseContractError",
    "PrefactorRetryExhaustedError",
    "PrefactorTimeoutError",
    "PrefactorValidationError",
    "is_permanent_http_error",
    "is_transient_http_error",
]
