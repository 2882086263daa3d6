"""The faults that can be injected into an attempt, and their error responses."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

import msgspec


class FaultKind(enum.StrEnum):
    """A kind of fault; the value is its name in statistics.

    ``RESET_BEFORE_READING``, ``REDIRECTED`` and the error responses other than ``APPLIED_THEN_…``
    leave the server's state unchanged. All other kinds apply the request first. ``DELAYED``,
    ``CLOSED_AFTER_REPLY``, ``UNKNOWN_FIELDS``, ``UNKNOWN_STATUS`` and ``OVERSIZED_REPLY`` deliver
    the whole response.
    """

    RESET_BEFORE_READING = "reset before reading"
    APPLIED_THEN_RESET = "applied then reset"
    CUT_IN_BODY = "cut off in the body"
    STALLED_BEFORE_REPLY = "stalled before the reply"
    STALLED_IN_BODY = "stalled within the body"
    DELAYED = "delayed"
    RATE_LIMITED = "429"
    INTERNAL_ERROR = "500"
    BAD_GATEWAY = "502 HTML"
    TRUNCATED_ERROR = "502 truncated"
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504 empty"
    APPLIED_THEN_500 = "applied then 500"
    APPLIED_THEN_503 = "applied then 503"
    CLOSED_AFTER_REPLY = "closed after the reply"
    INVALID_JSON = "invalid JSON"
    JSON_ARRAY = "JSON array"
    MISSING_DETAILS = "missing details"
    UNKNOWN_FIELDS = "unknown fields"
    UNKNOWN_STATUS = "unknown status"
    GARBAGE_STATUS_LINE = "garbage status line"
    REDIRECTED = "redirected"
    TOO_LARGE = "413"
    IN_PROGRESS = "409 in progress"
    OVERSIZED_REPLY = "oversized reply"


class ErrorBody(enum.StrEnum):
    """The kind of body that an error response has."""

    JSON = "json"
    HTML = "html"
    EMPTY = "empty"


RANDOM_FAULTS = (
    FaultKind.APPLIED_THEN_RESET,
    FaultKind.RESET_BEFORE_READING,
    FaultKind.CUT_IN_BODY,
    FaultKind.STALLED_BEFORE_REPLY,
    FaultKind.STALLED_IN_BODY,
    FaultKind.UNAVAILABLE,
    FaultKind.RATE_LIMITED,
    FaultKind.BAD_GATEWAY,
    FaultKind.GATEWAY_TIMEOUT,
    FaultKind.APPLIED_THEN_500,
    FaultKind.CLOSED_AFTER_REPLY,
)
"""The default kinds of random faults."""

ERROR_STATUS = {
    FaultKind.RATE_LIMITED: 429,
    FaultKind.INTERNAL_ERROR: 500,
    FaultKind.BAD_GATEWAY: 502,
    FaultKind.TRUNCATED_ERROR: 502,
    FaultKind.UNAVAILABLE: 503,
    FaultKind.GATEWAY_TIMEOUT: 504,
    FaultKind.APPLIED_THEN_500: 500,
    FaultKind.APPLIED_THEN_503: 503,
    FaultKind.REDIRECTED: 307,
    FaultKind.TOO_LARGE: 413,
    FaultKind.IN_PROGRESS: 409,
}
APPLIED_THEN_ERROR = frozenset({FaultKind.APPLIED_THEN_500, FaultKind.APPLIED_THEN_503})
ERRORS_BEFORE_WRITE = frozenset(ERROR_STATUS) - APPLIED_THEN_ERROR
RETRY_AFTER_KINDS = frozenset({FaultKind.RATE_LIMITED, FaultKind.UNAVAILABLE})
# The client gets the whole response, unchanged or extended.
HARMLESS = frozenset(
    {
        FaultKind.DELAYED,
        FaultKind.CLOSED_AFTER_REPLY,
        FaultKind.UNKNOWN_FIELDS,
        FaultKind.UNKNOWN_STATUS,
        FaultKind.OVERSIZED_REPLY,
    }
)

_BODY_OF = {
    FaultKind.BAD_GATEWAY: ErrorBody.HTML,
    FaultKind.TRUNCATED_ERROR: ErrorBody.HTML,
    FaultKind.GATEWAY_TIMEOUT: ErrorBody.EMPTY,
}
_CLIENT_ERRORS = range(400, 500)
# The only 409 among the faults is `idempotency_in_progress`.
_RETRYABLE = frozenset({408, 409, 425, 429})
_CODE_OF = {
    409: "idempotency_in_progress",
    413: "payload_too_large",
    429: "rate_limited",
    500: "internal_server_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """The error response of a fault."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_final(self) -> bool:
        """Whether the same request would fail again."""
        return self.status in _CLIENT_ERRORS and self.status not in _RETRYABLE


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault.

    Attributes:
        kind: The kind of fault.
        seconds: How long a stalled or delayed response is held back. If omitted, the server's
            ``stall`` for a stall and 0.1 s for a delay.
        status: HTTP status of the error response; overrides the default of the kind.
        body: Body of the error response; overrides the default of the kind.
        retry_after: ``Retry-After`` of the error response: seconds, a datetime (sent as an HTTP
            date), or the literal header value.
        headers: Additional headers of the error response, such as ``Date``.
        location: The ``Location`` of ``REDIRECTED``.
        size: The number of bytes that ``OVERSIZED_REPLY`` adds.
        compressed: Whether ``OVERSIZED_REPLY`` is sent with ``Content-Encoding: gzip``.
    """

    kind: FaultKind
    seconds: float | None = None
    status: int | None = None
    body: ErrorBody | None = None
    retry_after: int | datetime | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    location: str = "/_local/redirected"
    size: int = 1 << 20
    compressed: bool = False

    def response(self) -> ErrorResponse:
        """Return the error response, for the kinds that have one."""
        status = self.status or ERROR_STATUS[self.kind]
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = _header_value(self.retry_after)
        if self.kind is FaultKind.REDIRECTED:
            headers["Location"] = self.location
        body = self.body or _BODY_OF.get(self.kind, ErrorBody.JSON)
        if body is ErrorBody.EMPTY:
            return ErrorResponse(status=status, headers=headers, body=b"")
        if body is ErrorBody.HTML:
            headers["Content-Type"] = "text/html"
            page = f"<html><body><h1>{status}</h1><p>Injected fault.</p></body></html>"
            return ErrorResponse(status=status, headers=headers, body=page.encode())
        headers["Content-Type"] = "application/json"
        code = _CODE_OF.get(status, "injected_fault")
        envelope = {"status": "error", "code": code, "message": f"Injected fault: {self.kind}."}
        return ErrorResponse(status=status, headers=headers, body=msgspec.json.encode(envelope))


def _header_value(retry_after: int | datetime | str) -> str:
    if isinstance(retry_after, datetime):
        return format_datetime(retry_after, usegmt=True)
    return str(retry_after)
