"""What the server received, for tests that look at the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from multidict import CIMultiDict

from prefactor_http.testing.faults.faults import FaultKind

_MASK = "Bearer ***"


class _Keyed(msgspec.Struct):
    idempotency_key: str | None = None


@dataclass(slots=True)
class RecordedRequest:
    """One attempt, as it arrived.

    Attributes:
        method: Upper case.
        raw_path: Path and query as they stood on the wire.
        headers: All headers, the token masked.
        operation: What it asks for, such as ``agent_instances.register``; None for an unknown
            path.
        fault: What went wrong with it by intent.
        query: The query, decoded.
        body: The body's bytes; empty where a fault came before it was read.
        status: HTTP status of the reply, None where none was sent.
    """

    method: str
    raw_path: str
    headers: CIMultiDict[str]
    operation: str | None
    fault: FaultKind | None
    query: list[tuple[str, str]]
    body: bytes = b""
    status: int | None = None

    def __post_init__(self) -> None:
        if "Authorization" in self.headers:
            self.headers["Authorization"] = _MASK

    @property
    def path(self) -> str:
        """The path as it stood on the wire, without query."""
        return self.raw_path.partition("?")[0]

    @property
    def json(self) -> Any:
        """The body, decoded.

        Raises:
            ValueError: It is not JSON.
        """
        return msgspec.json.decode(self.body)

    @property
    def idempotency_key(self) -> str | None:
        """The key at the top level of the body, None where there is none."""
        try:
            return msgspec.json.decode(self.body, type=_Keyed).idempotency_key
        except msgspec.DecodeError:
            return None  # A body that cannot be read carries no key.
