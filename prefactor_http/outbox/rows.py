"""Rows of an outbox: writes that wait, dead letters, totals."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from prefactor_http._http.codec import ERROR_BY_STATUS
from prefactor_http.exceptions import PrefactorApiError, PrefactorClientError, PrefactorHttpError
from prefactor_http.outbox.errors import OutboxBlockedError

DeadState = Literal["refused", "blocked", "unknown"]


class NewWrite(Struct):
    """A write that is being recorded.

    Attributes:
        instance: Instance that it belongs to; None if it is that of the span `target`.
        type: Its call, such as ``agent_instances/start``.
        key: Idempotency key.
        target: Id of the resource that it creates or refers to.
        parent: Id of the parent of the span that it creates, if it has one.
        body: The bulk item, as stored.
        recorded_at: Unix time of the call.
        opens_span: Whether it creates a span that is finished later.
    """

    instance: str | None
    type: str
    key: str
    target: str
    parent: str | None
    body: bytes
    recorded_at: float
    opens_span: bool = False


class PendingWrite(Struct):
    """A recorded write that has no definite answer yet.

    Attributes:
        sequence: Position in the file.
        instance: Instance that it belongs to.
        type: Its call.
        key: Idempotency key.
        target: Id of the resource that it creates or refers to.
        parent: Id of the parent of the span that it creates, if it has one.
        body: The bulk item, as stored.
        recorded_at: Unix time of the call that recorded it.
        tries: Deliveries so far that ended without a definite answer.
        unknown_since: Unix time of the first of them.
    """

    sequence: int
    instance: str
    type: str
    key: str
    target: str
    parent: str | None
    body: bytes
    recorded_at: float
    tries: int = 0
    unknown_since: float | None = None


class ErrorRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it is stored with a dead letter."""

    text: str
    message: str | None = None
    code: str | None = None
    status_code: int | None = None
    errors: dict[str, Any] | None = None
    request_id: str | None = None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A write that will not be delivered unless it is retried.

    Attributes:
        sequence: Its position in the file, which names it in `retry` and `drop`.
        agent_instance_id: Instance that it belongs to.
        type: Its call, such as ``agent_instances/start``.
        idempotency_key: Its key.
        id: Id of the resource that it creates or refers to.
        state: ``refused`` by the API; ``blocked`` because the resource that it refers to could not
            be created; ``unknown`` if no definite answer was obtained within ``max_age``.
        recorded_at: Unix time of the call.
        died_at: Unix time at which it became a dead letter.
        blocked_by: Sequence of the dead letter that blocks it, or None.
        error: The error, as text.
        exception: The error, to be raised.
    """

    sequence: int
    agent_instance_id: str
    type: str
    idempotency_key: str
    id: str
    state: DeadState
    recorded_at: float
    died_at: float
    blocked_by: int | None
    error: str
    exception: PrefactorHttpError


class OutboxStats(Struct, frozen=True, kw_only=True):
    """Counters of an outbox.

    Attributes:
        pending: Writes that have no definite answer yet.
        bytes: Size of their bodies.
        dead: Dead letters.
        delivered: Writes that were delivered since the file was created.
        dropped: Writes that were dropped to make room since the file was created.
        oldest_age: Age in seconds of the oldest pending write; None if there is none.
    """

    pending: int
    bytes: int
    dead: int
    delivered: int
    dropped: int
    oldest_age: float | None


def record_of(error: Exception) -> bytes:
    """Encode an error for the file."""
    record = ErrorRecord(text=str(error))
    if isinstance(error, PrefactorApiError):
        record = ErrorRecord(
            text=str(error),
            message=error.message,
            code=error.code,
            status_code=error.status_code,
            errors=error.errors,
            request_id=error.request_id,
        )
    return msgspec.json.encode(record, enc_hook=str)


def error_of(state: str, data: bytes, key: str) -> tuple[str, PrefactorHttpError]:
    """Decode the error of a dead letter: its text, and an exception to raise."""
    record = msgspec.json.decode(data, type=ErrorRecord)
    error: PrefactorHttpError
    if record.status_code is not None:
        cls = ERROR_BY_STATUS.get(record.status_code, PrefactorApiError)
        error = cls(
            record.message or record.text,
            record.code or "unknown",
            record.status_code,
            record.errors,
        )
        error.request_id = record.request_id
        error.from_api = True
    elif state == "blocked":
        error = OutboxBlockedError(record.text)
    else:
        error = PrefactorClientError(record.text)
    error.idempotency_key = key
    error.outcome_unknown = state == "unknown"
    return record.text, error
