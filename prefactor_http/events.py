"""Events that a client reports to the hooks of its configuration."""

from msgspec import Struct


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a call, reported to `HttpClientConfig.on_attempt` after it.

    Attributes:
        operation: Name of the operation, such as ``agent_instances.register``.
        method: HTTP verb.
        path: Path of the URL.
        number: 1 for the first attempt of its call.
        status: HTTP status of the response, or None if there was none.
        error: What went wrong, in one line; None after a success.
        seconds: Duration of the attempt.
        idempotency_key: The call's key; None for a read and for a bulk request.
        request_id: The response's ``X-Request-Id``, or None.
        items: Number of items in a bulk request; None for other calls.
    """

    operation: str
    method: str
    path: str
    number: int
    status: int | None
    error: str | None
    seconds: float
    idempotency_key: str | None
    request_id: str | None = None
    items: int | None = None


class Retry(Struct, frozen=True, kw_only=True):
    """A retry that is about to happen, reported to `HttpClientConfig.on_retry` before the wait.

    Attributes:
        operation: Name of the operation, such as ``agent_instances.register``.
        method: HTTP verb.
        path: Path of the URL.
        number: 1 for the first retry of the call.
        max_retries: Limit of ``number``: that of the configuration, and one more after a response
            that may belong to another call. None in batches, where `max_outage` limits retries.
        reason: Why the last attempt failed: the HTTP status, such as ``503``, or the kind of
            error, such as ``PrefactorConnectionError``.
        error: What went wrong, in one line.
        wait_for: Seconds until the retry.
        waited_so_far: Seconds that the call has waited for earlier retries.
        idempotency_key: The call's key; None for a read and for a bulk request.
        items: Number of items in a bulk request; None for other calls.
    """

    operation: str
    method: str
    path: str
    number: int
    max_retries: int | None
    reason: str
    error: str
    wait_for: float
    waited_so_far: float
    idempotency_key: str | None
    items: int | None = None


class Throttling(Struct, frozen=True, kw_only=True):
    """The start or end of throttling, reported to `HttpClientConfig.on_throttle`.

    Attributes:
        operation: Name of the operation whose calls are held back.
        started: True when calls start to be held back, False when they are sent freely again.
        reason: HTTP status that started it, such as ``429``.
        wait_for: Seconds until the next call is sent, at the start; 0 at the end.
        seconds: Seconds that throttling lasted, at the end; 0 at the start.
    """

    operation: str
    started: bool
    reason: str
    wait_for: float
    seconds: float


__all__ = ["Attempt", "Retry", "Throttling"]
