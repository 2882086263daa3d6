"""Everything that a call can raise.

::

    PrefactorHttpError
    ├── PrefactorApiError                  the API answered, with an error
    │   ├── PrefactorAuthError             401, 403
    │   ├── PrefactorNotFoundError         404
    │   ├── PrefactorConflictError         409
    │   ├── PrefactorValidationError       400, 422
    │   └── PrefactorRateLimitError        429
    ├── PrefactorConnectionError           no reply: refused, reset, cut off     (a ConnectionError)
    ├── PrefactorTimeoutError              no reply in time, or deadline passed  (a TimeoutError)
    ├── PrefactorResponseContractError     a reply that cannot be what it says
    ├── PrefactorRetryExhaustedError       every attempt failed; see last_error
    └── PrefactorClientError               the client cannot make this call: closed, wrong loop, …

Bad arguments raise ``ValueError`` or ``TypeError`` before any I/O. What a caller most needs to
know after a failed write is on each error: ``outcome_unknown`` says whether the write may have
taken effect all the same.
"""

from __future__ import annotations

from typing import Any

from aiohttp import ClientError

_SERVER_ERROR = 500
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
_IN_PROGRESS = "idempotency_in_progress"


class PrefactorHttpError(Exception):
    """Base of all errors of this package.

    Attributes:
        method: HTTP verb of the call, where there was one.
        path: Path of the call, such as ``/api/v1/agent_instance/register``.
        attempts: Attempts made (0 when the call was refused before the first).
        idempotency_key: The key that every attempt carried; pass it again to repeat the call.
        outcome_unknown: True when the write may have taken effect although it raised.
        retry_budget_exhausted: True when the client's retry budget ended the call early.
    """

    method: str | None = None
    path: str | None = None
    attempts: int = 0
    idempotency_key: str | None = None
    outcome_unknown: bool = False
    retry_budget_exhausted: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # The signatures differ by class, so a pickle restores the state instead of calling them.
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(
    cls: type[PrefactorHttpError], args: tuple[Any, ...], state: dict[str, Any]
) -> PrefactorHttpError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PrefactorApiError(PrefactorHttpError):
    """The API answered with an error status.

    Attributes:
        code: The API's error code, verbatim; ``"unknown"`` where the reply had none.
        status_code: HTTP status of the reply.
        errors: Problems by field, as the API sent them; empty where it sent none.
        retry_after: Seconds that the reply asked to wait, or None.
        request_id: The reply's request id, for the API's support, or None.
        body_snippet: First characters of a reply that was not JSON (a proxy's page), or None.
    """

    retry_after: float | None = None
    request_id: str | None = None
    body_snippet: str | None = None

    def __init__(
        self, message: str, code: str, status_code: int, errors: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status_code = status_code
        self.errors: dict[str, Any] = {} if errors is None else errors


class PrefactorAuthError(PrefactorApiError):
    """The token is not accepted (401) or lacks a permission (403)."""


class PrefactorNotFoundError(PrefactorApiError):
    """There is no such resource, or it belongs to another account (404)."""


class PrefactorConflictError(PrefactorApiError):
    """The resource's state does not allow the action, or a key was reused (409)."""


class PrefactorValidationError(PrefactorApiError):
    """The API refused the input (400, 422); ``errors`` says which fields and why."""


class PrefactorRateLimitError(PrefactorApiError):
    """Too many requests (429); ``retry_after`` says how many seconds to wait, where known."""


class PrefactorClientError(PrefactorHttpError):
    """The client cannot make the call: it is closed, on another event loop, or misconfigured."""


class PrefactorConnectionError(PrefactorHttpError, ConnectionError):
    """No complete reply: connecting failed, or the connection broke before the reply's end.

    Attributes:
        certificate_error: True when the server's TLS certificate was not accepted.
    """

    certificate_error: bool = False


class PrefactorTimeoutError(PrefactorHttpError, TimeoutError):
    """No reply within ``request_timeout`` or ``connect_timeout``, or the ``deadline`` passed."""


class PrefactorResponseContractError(PrefactorHttpError):
    """A reply that is not what the API promises: no JSON object, a field missing, too large.

    Attributes:
        status_code: HTTP status of the reply, or None.
        body_snippet: The reply's first characters, or None.
        cause: What the decoder said, or None.
    """

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
    """Every allowed attempt failed in a way that was worth another.

    Attributes:
        last_error: The error of the last attempt.
    """

    def __init__(self, message: str, last_error: Exception | None = None) -> None:
        super().__init__(message)
        self.last_error = last_error


def is_transient_http_error(error: Exception) -> bool:
    """Tell whether the same call may succeed later.

    Args:
        error: Any exception; one of aiohttp's own counts too.

    Returns:
        True for lost connections, timeouts, 408, 425, 429, 5xx and a key still in progress.
    """
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return is_transient_http_error(error.last_error)
    if isinstance(error, PrefactorConnectionError):
        return not error.certificate_error
    if isinstance(error, PrefactorApiError):
        return _is_transient_status(error.status_code) or error.code == _IN_PROGRESS
    if isinstance(error, PrefactorResponseContractError):
        return _is_transient_status(error.status_code)
    return isinstance(error, ClientError | TimeoutError)


def is_permanent_http_error(error: Exception) -> bool:
    """Tell whether repeating the same call is pointless.

    Args:
        error: Any exception.

    Returns:
        True when the API refused the call for good, or its reply breaks the contract.
    """
    if isinstance(error, PrefactorRetryExhaustedError) and error.last_error is not None:
        return is_permanent_http_error(error.last_error)
    if isinstance(error, PrefactorConnectionError):
        return error.certificate_error
    if isinstance(error, PrefactorApiError | PrefactorResponseContractError):
        return not is_transient_http_error(error)
    return False


def _is_transient_status(status: int | None) -> bool:
    return status is not None and (status >= _SERVER_ERROR or status in _TRANSIENT_STATUSES)
