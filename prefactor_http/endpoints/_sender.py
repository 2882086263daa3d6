"""What an endpoint needs of the client: nothing but this, so it never imports it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self, TypeVar, Unpack

from prefactor_http._clock import Clock
from prefactor_http._operation import Operation
from prefactor_http.config import Options

T = TypeVar("T")


class Sender(Protocol):
    """The client, as its endpoints see it."""

    @property
    def clock(self) -> Clock:
        """Where a call without a timestamp takes it from."""
        ...

    def send(
        self, operation: Operation[T], request: object = None, resource_id: str | None = None
    ) -> Coroutine[Any, Any, T]:
        """Make a call."""
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


def moment(given: datetime | None, clock: Clock, name: str = "timestamp") -> datetime:
    """Take the caller's moment, or now: a late retry must not move the event (contract §5).

    Args:
        given: The caller's moment, or None.
        clock: Where now comes from.
        name: What the message calls it.

    Returns:
        The moment in UTC, which is written with a ``Z``.

    Raises:
        TypeError: It is not a datetime.
        ValueError: It has no zone: nobody could tell which moment is meant.
    """
    return clock.utcnow() if given is None else in_utc(given, name)


def in_utc(given: datetime, name: str) -> datetime:
    """Check a caller's moment; see `moment`."""
    if not isinstance(given, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        raise TypeError(f"{name} must be a datetime, not {type(given).__name__}")
    if given.utcoffset() is None:
        raise ValueError(
            f"{name} has no time zone: give it one, such as datetime.now(timezone.utc)"
        )
    return given.astimezone(UTC)


def one_of(value: str | None, name: str, allowed: tuple[str, ...]) -> None:
    """Check a value that the API defines; None stands for its default.

    Raises:
        ValueError: It is another one; the message lists those allowed.
    """
    if value is not None and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
