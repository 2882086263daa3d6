"""What endpoints and batches need of the client: nothing but this, so they never import it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, Self, TypeVar, Unpack

from prefactor_http._clock import Clock
from prefactor_http._operation import Operation
from prefactor_http._redaction import Redactor
from prefactor_http._span_instances import SpanInstances
from prefactor_http.config import HttpClientConfig, Options

T = TypeVar("T")


class Sender(Protocol):
    """The client, as its endpoints see it."""

    @property
    def config(self) -> HttpClientConfig:
        """How the client was configured."""
        ...

    @property
    def clock(self) -> Clock:
        """Where a call without a timestamp takes it from."""
        ...

    @property
    def span_instances(self) -> SpanInstances:
        """The instances of open spans."""
        ...

    @property
    def redactor(self) -> Redactor:
        """Removes the token from text."""
        ...

    def send(
        self,
        operation: Operation[T],
        request: object = None,
        resource_id: str | None = None,
        *,
        needs_new_connection: bool = False,
    ) -> Coroutine[Any, Any, T]:
        """Make a call."""
        ...

    async def send_items(
        self, operation: Operation[T], request: object, *, needs_new_connection: bool = False
    ) -> tuple[T, bool]:
        """Make a bulk call, and tell whether an attempt before the last may have been applied."""
        ...

    async def read(
        self, operation: Operation[T], params: Mapping[str, str], resource_id: str | None = None
    ) -> T:
        """Make a reading call with query parameters."""
        ...

    def key(self, given: str | None) -> str:
        """Check a caller's idempotency key, or make one."""
        ...

    def with_options(self, **options: Unpack[Options]) -> Self:
        """Make a view that differs in some options."""
        ...
