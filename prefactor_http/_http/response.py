"""Outcome of one attempt: a `Response`, or a `Failure` with what is known about the write."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from msgspec import Struct

from prefactor_http.exceptions import PrefactorHttpError


class WriteStatus(Enum):
    """What is known about the write of a failed attempt."""

    NOT_SENT = auto()
    """The request was not sent, so the write was not applied."""
    UNKNOWN = auto()
    """The write may have been applied."""
    ANSWERED = auto()
    """The API refused the write."""


class Response(Struct, gc=False):
    """A complete HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # Error reporters show the local variables of each frame: no body, no headers.
        return f"<Response {self.status}, {len(self.body)} bytes>"


class Failure(Struct):
    """A failed attempt, as a value. Its error is not raised, so it creates no reference cycles.

    Attributes:
        error: The error to raise if there is no retry.
        write_status: What is known about the write.
        status: HTTP status of the response, or None.
        permanent: Another attempt would fail in the same way.
        disconnected: The connection was lost. If it was idle before, an immediate retry helps.
        timed_out: The attempt timed out.
        retry_after: Seconds that the response asked to wait, or None.
        lost: The response is unusable, as if it had been lost in transit.
        contradicts: The response is about another resource or an earlier state.
    """

    error: PrefactorHttpError
    write_status: WriteStatus
    status: int | None = None
    permanent: bool = False
    disconnected: bool = False
    timed_out: bool = False
    retry_after: float | None = None
    lost: bool = False
    contradicts: bool = False
