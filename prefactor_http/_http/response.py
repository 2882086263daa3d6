"""The outcome of one attempt: a response, or a failure with what it says about the write."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from msgspec import Struct

from prefactor_http.exceptions import PrefactorHttpError


class WriteStatus(Enum):
    """What a failed attempt says about its write."""

    NOT_SENT = auto()
    """The request did not leave: the write did not happen."""
    UNKNOWN = auto()
    """The request may have been carried out."""
    ANSWERED = auto()
    """The API answered: the write was refused."""


class Response(Struct, gc=False):
    """A reply, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # Error reports show the variables of each frame: no body, no headers.
        return f"<Response {self.status}, {len(self.body)} bytes>"


class Failure(Struct):
    """A failed attempt, as a value: an exception that is never raised leaves no cycles behind.

    Attributes:
        error: What the caller gets if there is no further attempt.
        write_status: What is known about the write.
        status: HTTP status, where there was a reply.
        permanent: Another attempt would fail in the same way.
        disconnected: The connection broke; if it was an idle one, another will do at once.
        timed_out: The attempt ran into a timeout.
        retry_after: Seconds that the response asked to wait.
        lost: The response is unusable, as if it had been lost in transit.
        contradicts: The response is about another resource, or about the state before the call.
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
