"""A request as the server received it, for tests that check what was sent on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from multidict import CIMultiDict

from prefactor_http.testing.faults.faults import FaultKind

_MASKED_AUTHORIZATION = "Bearer ***"


class _Keyed(msgspec.Struct):
    idempotency_key: str | None = None


@dataclass(slots=True)
class RecordedRequest:
    """One recorded attempt.

    Attributes:
        method: HTTP method in upper case.
        raw_path: Path and query as sent, percent-encoded.
        headers: All headers, with the token masked.
        operation: The operation, such as ``agent_instances.register``; None for an unknown path.
        fault: The fault that the server injected, or None.
        query: The decoded query parameters.
        body: The raw body; empty if a fault prevented reading it.
        status: HTTP status of the response; None if none was sent.
        seconds: Time from the head of the request to the end of its handling; 0 until then.
    """

    method: str
    raw_path: str
    headers: CIMultiDict[str]
    operation: str | None
    fault: FaultKind | None
    query: list[tuple[str, str]]
    body: bytes = b""
    status: int | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if "Authorization" in self.headers:
            self.headers["Authorization"] = _MASKED_AUTHORIZATION

    @property
    def path(self) -> str:
        """The path as sent, without the query."""
        return self.raw_path.partition("?")[0]

    @property
    def json(self) -> Any:
        """The decoded body.

        Raises:
            ValueError: The body is not JSON.
        """
        return msgspec.json.decode(self.body)

    @property
    def idempotency_key(self) -> str | None:
        """The key at the top level of the body, or None."""
        try:
            return msgspec.json.decode(self.body, type=_Keyed).idempotency_key
        except msgspec.DecodeError:
            return None  # A body that cannot be decoded has no key.
