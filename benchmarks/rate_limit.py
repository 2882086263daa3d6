"""An application with a rate limit. Requests over the limit get a 429 with `Retry-After`."""

from __future__ import annotations

import time
from typing import Protocol

from benchmarks import responses
from benchmarks.applications import Response


class _Application(Protocol):
    def respond(self, path: bytes, body: bytes) -> Response | bytes: ...


class RateLimited:
    """Limits requests in fixed windows of one second; the rest get a 429 with `Retry-After: 1`.

    Args:
        application: Handles the admitted requests.
        rate: Requests admitted per second.
    """

    def __init__(self, application: _Application, rate: int) -> None:
        self._application = application
        self._rate = rate
        self._window = 0
        self._remaining = rate
        self._rejected = 0
        body = responses.error("rate_limited", "Too many requests")
        self._too_many_requests = responses.http("429 Too Many Requests", body, "Retry-After: 1")

    def respond(self, path: bytes, body: bytes) -> Response | bytes:
        window = int(time.monotonic())
        if window != self._window:
            self._window, self._remaining = window, self._rate
        if not self._remaining:
            self._rejected += 1
            return self._too_many_requests
        self._remaining -= 1
        return self._application.respond(path, body)

    def stats(self) -> dict[str, object]:
        return {"rejected": self._rejected}
