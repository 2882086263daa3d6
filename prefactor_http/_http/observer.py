"""The hook of instrumentation: one observer for all clients of a process.

Until an observer is installed, a call costs one comparison more.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from prefactor_http._http.codec import PreparedRequest
from prefactor_http.events import Attempt, Retry, Throttling

T = TypeVar("T")


class Observer(Protocol):
    """Receives what happens to calls. Its methods must not raise."""

    def observe(
        self, prepared: PreparedRequest[T], base_url: str, call: Coroutine[Any, Any, T]
    ) -> Coroutine[Any, Any, T]:
        """Return a coroutine that runs a call; it may add headers to the request."""
        ...

    def on_attempt(self, attempt: Attempt, *, is_instrumented: bool) -> None:
        """Record an attempt; `is_instrumented` says whether aiohttp reports it, too."""
        ...

    def on_retry(self, retry: Retry) -> None: ...

    def on_throttling(self, throttling: Throttling) -> None: ...

    def on_wait(self, operation: str, seconds: float) -> None:
        """Record that a call has waited for the rate limiter."""
        ...

    def on_items(self, operation: str, states: Mapping[str, int]) -> None:
        """Record how many items of a batch have ended in which state."""
        ...

    def on_items_in_flight(self, operation: str, change: int) -> None: ...


class _Installed:
    """Holds the observer of the process."""

    observer: Observer | None = None


installed = _Installed()
