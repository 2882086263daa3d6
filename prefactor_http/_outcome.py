"""What comes of an attempt: a reply, a failure, and the record of it that a hook may see."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from msgspec import Struct

from prefactor_http.exceptions import PrefactorHttpError


class Kind(Enum):
    """What a failed attempt says about its write."""

    NOT_SENT = auto()
    """The request did not leave: the write did not happen."""
    UNKNOWN = auto()
    """The request may have been carried out."""
    ANSWERED = auto()
    """The API answered: the write was refused."""


class Reply(Struct, gc=False):
    """A reply, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # Error reports show the variables of each frame: no body, no headers.
        return f"<Reply {self.status}, {len(self.body)} bytes>"


class Failure(Struct):
    """A failed attempt, as a value: an exception that is never raised leaves no cycles behind.

    Attributes:
        error: What the caller gets if there is no further attempt.
        kind: What is known of the write.
        status: HTTP status, where there was a reply.
        permanent: Another attempt would fail in the same way.
        disconnected: The connection broke; if it was an idle one, another will do at once.
        timed_out: The attempt ran into a timeout.
        retry_after: Seconds that the response asked to wait.
        lost: The response is unusable, as if it had been lost in transit.
        contradicts: The response is about another resource, or about the state before the call.
    """

    error: PrefactorHttpError
    kind: Kind
    status: int | None = None
    permanent: bool = False
    disconnected: bool = False
    timed_out: bool = False
    retry_after: float | None = None
    lost: bool = False
    contradicts: bool = False


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a call, as `HttpClientConfig.on_attempt` sees it.

    Attributes:
        operation: The client's name of the call, such as ``agent_instances.register``.
        method: HTTP verb.
        path: Path of the URL.
        number: 1 for the first attempt of its call.
        status: HTTP status of the reply, or None where there was none.
        error: What went wrong, in a line; None on success.
        seconds: How long the attempt took.
        idempotency_key: The call's key, or None.
    """

    operation: str
    method: str
    path: str
    number: int
    status: int | None
    error: str | None
    seconds: float
    idempotency_key: str | None
