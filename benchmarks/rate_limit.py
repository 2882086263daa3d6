"""A server that admits so many requests a second and asks the others to come back later."""

from __future__ import annotations

import time
from typing import Protocol

from benchmarks import replies
from benchmarks.applications import Answer


class _Application(Protocol):
    def respond(self, path: bytes, body: bytes) -> Answer | bytes: ...


class RateLimited:
    """Counts requests in windows of one second; what is too much gets 429 and `Retry-After: 1`.

    Args:
        application: Answers what is admitted.
        rate: Requests a second.
    """

    def __init__(self, application: _Application, rate: int) -> None:
        self._application = application
        self._rate = rate
        self._window = 0
        self._left = rate
        self._refused = 0
        body = replies.error("rate_limited", "Too many requests")
        self._refusal = replies.http("429 Too Many Requests", body, "Retry-After: 1")

    def respond(self, path: bytes, body: bytes) -> Answer | bytes:
        """Answer a request, or refuse it."""
        window = int(time.monotonic())
        if window != self._window:
            self._window, self._left = window, self._rate
        if not self._left:
            self._refused += 1
            return self._refusal
        self._left -= 1
        return self._application.respond(path, body)

    def stats(self) -> dict[str, object]:
        """Tell how many requests were refused."""
        return {"refused": self._refused}
