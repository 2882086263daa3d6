"""The wire, without I/O: requests become bytes; status, headers and bytes become a result.

Nothing in here waits, retries or tells the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import Struct

from prefactor_http._operation import Operation
from prefactor_http._outcome import Failure, Kind, Reply
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
IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"
INVALID_ACTION = "invalid_action"

_OK, _REDIRECT, _BAD_REQUEST, _SERVER_ERROR = 200, 300, 400, 500
_REQUEST_TIMEOUT = 408
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
# A Retry-After beyond this is a mistake, not a request.
_LONGEST_RETRY_AFTER = 31 * 24 * 3600.0

# What decoding a body raises: the last one where it is nested too deep.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.json.Encoder()


class Call(Struct, Generic[T], gc=False):
    """One logical call: what every attempt of it sends, and what its reply means.

    Attributes:
        operation: The API's call.
        path: The URL's path, ids filled in.
        body: The encoded request, the same bytes for each attempt; None for a GET.
        key: The idempotency key in the body; None where it has none, or one in each item.
        request: The request as the endpoint built it, for settling a 409.
        resource_id: The id in the path, for the same.
        params: Query parameters.
        headers: Headers of this call alone.
        expires_at: When its deadline passes, on the client's clock.
        attempts: Attempts made so far.
        in_flight: Whether an attempt is under way.
        outcome_unknown: Whether an attempt so far may have taken effect.
        needs_new_connection: Whether the next attempt must open a connection of its own, because
            the connections that exist may deliver the response to another request.
    """

    operation: Operation[T]
    path: str
    body: bytes | None = None
    key: str | None = None
    request: object = None
    resource_id: str | None = None
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    expires_at: float | None = None
    attempts: int = 0
    in_flight: bool = False
    outcome_unknown: bool = False
    needs_new_connection: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether an attempt may be repeated although an earlier one may have succeeded."""
        operation = self.operation
        return self.key is not None or operation.method == GET or operation.carries_items


def encode(operation: Operation[Any], request: object) -> bytes:
    """Write a request as JSON, once for all attempts.

    Args:
        operation: The call, for the message.
        request: A Struct, or a dict; or bytes, which are JSON already.

    Returns:
        The body.

    Raises:
        TypeError: A value in it has no JSON form.
        ValueError: It refers to itself, or holds text that is not Unicode.
    """
    if isinstance(request, bytes):
        return request
    try:
        return _encoder.encode(request)
    except RecursionError:
        problem: str = "it refers to itself"
    except UnicodeEncodeError as exc:
        problem = f"text that is not Unicode ({exc.reason})"
    except TypeError as exc:
        raise TypeError(f"{operation.name}: the request has no JSON form: {exc}") from None
    raise ValueError(f"{operation.name}: the request has no JSON form: {problem}")


def decipher(call: Call[T], reply: Reply | Failure, secret: str) -> T | Failure:
    """Turn a reply into the call's result, or into what went wrong.

    An attempt that failed on the way stays what it is.

    Args:
        call: The call that it answers.
        reply: The reply.
        secret: The token; if the reply repeats it, no error does.

    Returns:
        The result, or the failure.
    """
    if isinstance(reply, Failure):
        return reply
    if not _OK <= reply.status < _REDIRECT:
        return _refusal(reply, secret)
    try:
        return call.operation.decode(reply.body)
    except UNREADABLE as exc:
        return _breach(call, reply, secret, f"{exc}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds, or a date relative to the reply's own ``Date``.

    Args:
        headers: Headers of the reply.

    Returns:
        Seconds to wait, or None where the header is missing or makes no sense.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, headers.get("Date"))
    return seconds if 0 <= seconds <= _LONGEST_RETRY_AFTER else None


def _seconds_until(value: str, now: str | None) -> float:
    try:
        moments = [parsedate_to_datetime(text) for text in (value, now or "")]
    except (ValueError, OverflowError):  # the latter for years beyond what a C int holds
        return math.nan
    until, since = (m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments)
    return max(0.0, _timestamp(until) - _timestamp(since))


def _timestamp(moment: datetime) -> float:
    return moment.timestamp()


def _refusal(reply: Reply, secret: str) -> Failure:
    status = reply.status
    body = reply.body.replace(secret.encode(), b"[token]")
    fields = _error_fields(body, secret)
    code = fields.get("code")
    # Whatever a redirect says, what matters is that nobody followed it.
    message = None if status < _BAD_REQUEST else fields.get("message")
    errors = fields.get("errors")
    error = ERROR_BY_STATUS.get(status, PrefactorApiError)(
        message if isinstance(message, str) and message else _describe(status),
        code if isinstance(code, str) and code else _UNKNOWN_CODE,
        status,
        cast("dict[str, Any]", errors) if isinstance(errors, dict) else None,
    )
    error.request_id = reply.headers.get("X-Request-Id", "").replace(secret, "[token]") or None
    error.retry_after = retry_after(reply.headers)
    if not fields:
        error.body_snippet = snippet(body)
    # A 5xx or 408 may come from a proxy that gave up on a write which the API then carried out,
    # and a key still in progress means that an earlier attempt is being carried out now.
    unknown = (
        status >= _SERVER_ERROR or status == _REQUEST_TIMEOUT or code == IDEMPOTENCY_IN_PROGRESS
    )
    kind = Kind.UNKNOWN if unknown else Kind.ANSWERED
    return Failure(error, kind, status=status, retry_after=error.retry_after)


def _breach(call: Call[Any], reply: Reply, secret: str, problem: str) -> Failure:
    error = PrefactorResponseContractError(
        f"{call.operation.name}: the reply breaks the API's contract: {problem}"
        if reply.body
        else f"{call.operation.name}: the reply is empty, a JSON object was promised",
        status_code=reply.status,
        body_snippet=snippet(reply.body.replace(secret.encode(), b"[token]")),
    )
    return Failure(error, Kind.UNKNOWN, status=reply.status, permanent=True)


def _error_fields(body: bytes, secret: str) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
        # Once more, now that no escape (`\/`, `\u0041`) can hide the secret.
        plain = _encoder.encode(fields).replace(secret.encode(), b"[token]")
        return msgspec.json.decode(plain, type=dict[str, Any])
    except UNREADABLE:
        return {}  # a proxy's page; the status says enough


def _describe(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
    redirected = _REDIRECT <= status < _BAD_REQUEST
    return f"HTTP {status} {phrase}" + (", and redirects are not followed" if redirected else "")


def snippet(body: bytes) -> str | None:
    """Shorten a reply for a message.

    Args:
        body: The reply.

    Returns:
        Its first characters on one line, or None where it is empty.
    """
    text = " ".join(body[: 4 * _SNIPPET_LENGTH].decode(errors="replace").split())
    if len(text) > _SNIPPET_LENGTH:
        text = f"{text[:_SNIPPET_LENGTH]}…"
    return text or None


def describe(error: PrefactorHttpError) -> str:
    """Put an error into one line, for a log."""
    if isinstance(error, PrefactorApiError):
        return " ".join(f"{error.status_code} {error.code}: {error}".split())
    return " ".join(f"{type(error).__name__}: {error}".split())
