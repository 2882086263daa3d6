"""Parses responses: status, headers and body become the result of a call or a failure.

This module does no I/O, no retrying and reads no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import Struct

from prefactor_http._http.captured_response import CapturedCall
from prefactor_http._http.operation import Operation
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.response import Failure, Response, WriteStatus
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorConflictError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorRateLimitError,
    PrefactorResponseContractError,
    PrefactorValidationError,
)

T = TypeVar("T")

GET = "GET"
PING = "validate_token"
IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"

_OK, _REDIRECT, _BAD_REQUEST, _SERVER_ERROR = 200, 300, 400, 500
_REQUEST_TIMEOUT = 408
# Gateways log these when a client or an upstream hangs up; some send them.
_CLIENT_CLOSED = frozenset({460, 499})
_WRONG_ADDRESS = frozenset({400, 404, 405, 410})
UNAUTHORIZED = 401
TOO_EARLY, TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE = 425, 429, 503
ERROR_BY_STATUS: dict[int, type[PrefactorApiError]] = {
    400: PrefactorValidationError,
    401: PrefactorAuthError,
    403: PrefactorAuthError,
    404: PrefactorNotFoundError,
    409: PrefactorConflictError,
    422: PrefactorValidationError,
    429: PrefactorRateLimitError,
}
_UNKNOWN_CODE = "unknown"
_SNIPPET_LENGTH = 200
_SNIPPET_SOURCE = 64 * 1024
MAX_API_TEXT = 1000
# The client ignores a longer Retry-After.
_MAX_RETRY_AFTER = 31 * 24 * 3600.0

# What decoding a body may raise. RecursionError: it is nested too deep.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class PreparedRequest(Struct, Generic[T]):
    """One logical call: what each attempt sends, and the state of its attempts.

    Attributes:
        operation: The operation of the API.
        path: Path of the URL, with the id.
        body: The encoded request, the same bytes for each attempt; None for a GET.
        key: The idempotency key in the body; None if there is none, or one in each item.
        request: The request before encoding, to compare it with the response.
        resource_id: The id in the path.
        params: Query parameters; a list repeats its name.
        headers: Additional headers of this call.
        expires_at: End of the deadline, on the client's clock.
        attempts: Attempts so far.
        in_flight: Whether an attempt is in flight.
        outcome_unknown: Whether an earlier attempt may have been applied.
        contradictions: Responses so far that were about another resource or an earlier state.
        was_suspect: Whether a response so far may have belonged to another call.
        needs_new_connection: Whether the next attempt must not use a pooled connection.
        admitted_at: When the rate limiter last admitted the call; not set while it is idle.
        items: Number of items in a bulk request, or None.
        sent_at: When the last attempt was sent, on the client's clock; set only if `is_timed`.
        is_timed: Whether to set `sent_at`.
        status: HTTP status of the last response; set only while the process is instrumented.
        capture: Collects the response, if the call was made in a block that captures responses.
        calls: The calls that a bulk request contains, if calls are batched.
        trace: Its span; set only while the process is instrumented.
    """

    operation: Operation[T]
    path: str
    body: bytes | None = None
    key: str | None = None
    request: object = None
    resource_id: str | None = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    expires_at: float | None = None
    attempts: int = 0
    in_flight: bool = False
    outcome_unknown: bool = False
    contradictions: int = 0
    was_suspect: bool = False
    needs_new_connection: bool = False
    admitted_at: float = -math.inf
    items: int | None = None
    sent_at: float = 0.0
    is_timed: bool = False
    status: int | None = None
    capture: CapturedCall | None = None
    calls: Sequence[PreparedRequest[Any]] = ()
    trace: object = None

    def __repr__(self) -> str:
        # Error reporters show the local variables of each frame: no body, no headers.
        return (
            f"<PreparedRequest {self.operation.name}: {self.operation.method} {self.path}, "
            f"key {self.key}, attempts {self.attempts}>"
        )

    @property
    def is_repeatable(self) -> bool:
        """Whether the call may be repeated although an earlier attempt may have been applied."""
        operation = self.operation
        return operation.repeatable and (
            self.key is not None or operation.method == GET or operation.carries_items
        )


def parse_response(
    prepared: PreparedRequest[T],
    response: Response | Failure,
    redactor: Redactor,
    utcnow: Callable[[], datetime],
) -> T | Failure:
    """Turn a response into the result of its call, or into a failure.

    A `Failure` of the transport is returned unchanged. ``utcnow`` is needed for a date in
    ``Retry-After``.
    """
    if isinstance(response, Failure):
        return response
    if not _OK <= response.status < _REDIRECT:
        failure = _error_from_response(response, redactor, utcnow)
        if prepared.operation.has_secret:
            vars(failure.error)["body_snippet"] = None
        return failure
    operation = prepared.operation
    try:
        result = operation.decode(response.body)
    except DECODE_ERRORS as exc:
        return _contract_failure(
            prepared, response, redactor, f"{exc}", retryable=not _is_json(response.body)
        )
    is_anonymous = operation.is_anonymous
    if is_anonymous is not None and is_anonymous(prepared.request):
        return result  # there is nothing to compare
    problem = operation.contradiction(
        prepared.request, prepared.resource_id, prepared.params, result
    )
    return (
        result if problem is None else contradiction_failure(prepared, response, redactor, problem)
    )


def contradiction_failure(
    prepared: PreparedRequest[Any], response: Response, redactor: Redactor, problem: str
) -> Failure:
    """Build the failure of an attempt whose response contradicts its call."""
    failure = _contract_failure(prepared, response, redactor, problem, retryable=False)
    failure.permanent, failure.contradicts = False, True
    return failure


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Parse ``Retry-After``, which is a number of seconds or a date.

    A date is compared with the ``Date`` of the same response, so that the clocks of client and
    server need not agree. ``now`` is used if the response has no ``Date``.

    Returns:
        Seconds to wait, or None if the header is missing or invalid.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until = _parse_date(value)
        since = _parse_date(headers.get("Date", "")) or now
        seconds = math.nan if until is None else max(0.0, (until - since).total_seconds())
    return seconds if 0 <= seconds <= _MAX_RETRY_AFTER else None


def _parse_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: the year exceeds a C int
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _error_from_response(
    response: Response, redactor: Redactor, utcnow: Callable[[], datetime]
) -> Failure:
    status = response.status
    raw = _error_fields(response.body)
    code = raw.get("code")
    from_api = raw.get("status") == "error" and isinstance(code, str)
    fields = redactor.json(raw)
    # The message of a redirect says that it was not followed, not what its body says.
    message = None if status < _BAD_REQUEST else fields.get("message")
    errors = _truncated(fields.get("errors"))
    error = ERROR_BY_STATUS.get(status, PrefactorApiError)(
        truncate(message)
        if isinstance(message, str) and message
        else _describe(status, is_foreign=not raw),
        truncate(fields["code"]) if isinstance(code, str) and code else _UNKNOWN_CODE,
        status,
        cast("dict[str, Any]", errors) if isinstance(errors, dict) else None,
    )
    error.from_api = from_api
    error.request_id = request_id(response, redactor)
    error.retry_after = retry_after(response.headers, utcnow())
    if not raw:
        error.body_snippet = snippet(response.body, redactor)
    # A 5xx, a 408 or a redirect may come from a proxy, and the API may have executed the write.
    # If the key is in progress, the API is executing an earlier attempt.
    unknown = (
        status >= _SERVER_ERROR
        or status < _BAD_REQUEST
        or status == _REQUEST_TIMEOUT
        or (status in _CLIENT_CLOSED and not from_api)
        or code == IDEMPOTENCY_IN_PROGRESS
    )
    write_status = WriteStatus.UNKNOWN if unknown else WriteStatus.ANSWERED
    return Failure(error, write_status, status=status, retry_after=error.retry_after)


def _contract_failure(
    prepared: PreparedRequest[Any],
    response: Response,
    redactor: Redactor,
    problem: str,
    *,
    retryable: bool,
) -> Failure:
    if not response.body:
        problem = "empty response body, expected a JSON object"
    elif retryable:
        problem = f"the response is not valid JSON ({problem})"
    hint = "; is api_url the address of a Prefactor API?" if prepared.operation.name == PING else ""
    error = PrefactorResponseContractError(
        f"{prepared.operation.name}: {truncate(redactor.text(problem))}{hint}",
        status_code=response.status,
        body_snippet=None if prepared.operation.has_secret else snippet(response.body, redactor),
    )
    error.request_id = request_id(response, redactor)
    error.retryable = retryable
    return Failure(
        error, WriteStatus.UNKNOWN, status=response.status, permanent=not retryable, lost=retryable
    )


def _is_json(body: bytes) -> bool:
    """Whether the whole body is valid JSON. A truncated one is not."""
    try:
        msgspec.json.decode(body)
    except RecursionError:
        return True  # nested too deep to decode; a retry would not help
    except DECODE_ERRORS:
        return False
    return True


def _error_fields(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except DECODE_ERRORS:
        return {}  # a proxy's error page


def request_id(response: Response, redactor: Redactor) -> str | None:
    return truncate(redactor.text(response.headers.get("X-Request-Id", ""))) or None


def truncate(text: str) -> str:
    return text if len(text) <= MAX_API_TEXT else f"{text[:MAX_API_TEXT]}…"


def _truncated(value: Any) -> Any:
    """Truncate every string in a JSON value."""
    if isinstance(value, str):
        return truncate(value)
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {truncate(name): _truncated(item) for name, item in fields.items()}
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_truncated(item) for item in items]
    return value


def _describe(status: int, *, is_foreign: bool) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unassigned status"
    if _REDIRECT <= status < _BAD_REQUEST:
        return f"{phrase} (redirects are not followed)"
    if is_foreign and status in _WRONG_ADDRESS:
        return f"{phrase} (not a response of the Prefactor API: check api_url)"
    return phrase


def snippet(body: bytes, redactor: Redactor) -> str | None:
    """Return the first characters of a body on one line, or None if it is empty."""
    text = redactor.source(body[:_SNIPPET_SOURCE].decode(errors="replace"))
    if len(body) > _SNIPPET_SOURCE:
        # The cut may have left the beginning of a token.
        text = text[: max(0, len(text) - redactor.max_length)]
    text = " ".join(text.split())
    if len(text) > _SNIPPET_LENGTH:
        text = f"{text[:_SNIPPET_LENGTH]}…"
    return text or None


def describe(error: PrefactorHttpError) -> str:
    """Describe an error in one line."""
    if isinstance(error, PrefactorApiError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
