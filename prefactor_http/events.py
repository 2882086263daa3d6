"""Events that a client reports to the hooks of its configuration."""

from msgspec import Struct


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a call, as reported to `HttpClientConfig.on_attempt`.

    Attributes:
        operation: Name of the operation, such as ``agent_instances.register``.
        method: HTTP method.
        path: Path of the URL.
        number: Number of the attempt; 1 for the first attempt of a call.
        status: HTTP status of the response, or None if there was no response.
        error: Description of the error in one line; None on success.
        seconds: Duration of the attempt.
        idempotency_key: Idempotency key of the call, or None.
    """

    operation: str
    method: str
    path: str
    number: int
    status: int | None
    error: str | None
    seconds: float
    idempotency_key: str | None
