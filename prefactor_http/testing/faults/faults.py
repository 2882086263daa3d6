"""What can go wrong with one attempt, and the replies that stand for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

import msgspec


class FaultKind(enum.StrEnum):
    """A way for one attempt to fail; the value is its name in statistics.

    *Applied* means that the request did what it asks for, though the client cannot know. The
    others leave the server's state alone. ``DELAYED``, ``CLOSED_AFTER_REPLY``, ``UNKNOWN_FIELDS``
    and ``UNKNOWN_STATUS`` lose nothing.
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
    """What an error reply has for a body."""

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
"""The faults a server draws from when it is told how many attempts shall fail."""

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
REFUSALS = frozenset(ERROR_STATUS) - APPLIED_THEN_ERROR
RETRY_AFTER_KINDS = frozenset({FaultKind.RATE_LIMITED, FaultKind.UNAVAILABLE})
# The client gets the whole reply, as it is or with more in it.
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
# A fault answers 409 only to say that a key is at work.
_TRY_AGAIN = frozenset({408, 409, 425, 429})
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
class FaultReply:
    """An error reply that a fault puts on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_final(self) -> bool:
        """Whether sending the same request again is pointless."""
        return self.status in _CLIENT_ERRORS and self.status not in _TRY_AGAIN


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault.

    Attributes:
        kind: What goes wrong.
        seconds: How long a stalled or delayed reply is held back; the server's ``stall`` where
            omitted.
        status: HTTP status of the error reply, where another than the kind's own is wanted.
        body: Body of the error reply, where another than the kind's own is wanted.
        retry_after: ``Retry-After`` of the error reply: seconds, a moment (sent as HTTP date) or
            the header's text as it is.
        headers: More headers of the error reply, such as ``Date``.
        location: Where ``REDIRECTED`` points to.
        size: How many bytes ``OVERSIZED_REPLY`` adds.
        compressed: Whether ``OVERSIZED_REPLY`` goes out with ``Content-Encoding: gzip``.
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

    def reply(self) -> FaultReply:
        """Return the error reply of a kind that answers with one."""
        status = self.status or ERROR_STATUS[self.kind]
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = _header_of(self.retry_after)
        if self.kind is FaultKind.REDIRECTED:
            headers["Location"] = self.location
        body = self.body or _BODY_OF.get(self.kind, ErrorBody.JSON)
        if body is ErrorBody.EMPTY:
            return FaultReply(status=status, headers=headers, body=b"")
        if body is ErrorBody.HTML:
            headers["Content-Type"] = "text/html"
            page = f"<html><body><h1>{status}</h1><p>The proxy has a bad day.</p></body></html>"
            return FaultReply(status=status, headers=headers, body=page.encode())
        headers["Content-Type"] = "application/json"
        code = _CODE_OF.get(status, "injected_fault")
        envelope = {"status": "error", "code": code, "message": f"Injected fault: {self.kind}."}
        return FaultReply(status=status, headers=headers, body=msgspec.json.encode(envelope))


def _header_of(retry_after: int | datetime | str) -> str:
    if isinstance(retry_after, datetime):
        return format_datetime(retry_after, usegmt=True)
    return str(retry_after)
