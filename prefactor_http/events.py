"""Events that a client reports to the hooks of its configuration."""

from msgspec import Struct


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
