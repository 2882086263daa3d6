"""What ``--verbose`` prints: each attempt as it ends, and each wait before a retry."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from prefactor_http.cli.durations import duration
from prefactor_http.cli.output import Output
from prefactor_http.events import Attempt, Retry

_INTERVAL = 0.2  # seconds between updates of the status line
_CLEAR_LINE = "\r\x1b[2K"
# An error that is not the API's starts with the name of its class.
_CLASS = re.compile(r"^Prefactor\w+: ")
_CLASS_NAME = re.compile(r"^Prefactor(\w+)$")
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


class AttemptLog:
    """Prints attempts and waits to standard error.

    Args:
        output: The output of the command.

    Attributes:
        say: Prints a line of text.
    """

    def __init__(self, output: Output) -> None:
        self.say: Callable[[str], object] = output.say
        self._output = output
        self._waiting_for = "attempt 1"
        self._waiting_since = time.monotonic()
        self._retry_at = 0.0
        self._has_status = False

    def record(self, attempt: Attempt) -> None:
        """Print an attempt; a hook for `HttpClientConfig.on_attempt`."""
        result = attempt.status if attempt.error is None else without_class(attempt.error)
        self._print(
            "attempt",
            attempt,
            f"{_call(attempt)}  attempt {attempt.number}  {attempt.seconds:.3f} s  {result}",
        )
        is_done = attempt.error is None
        self._wait_for("the next response" if is_done else f"attempt {attempt.number + 1}")

    def record_retry(self, retry: Retry) -> None:
        """Print the wait before a retry; a hook for `HttpClientConfig.on_retry`."""
        limit = "" if retry.max_retries is None else f" of {retry.max_retries}"
        self._print(
            "retry",
            retry,
            f"{_call(retry)}  retry {retry.number}{limit} in {retry.wait_for:.3f} s: "
            f"{_reason(retry.reason)}",
        )
        self._retry_at = time.monotonic() + retry.wait_for

    def clear(self) -> None:
        """Remove the status line."""
        if self._has_status:
            self._has_status = False
            self._output.err.write(_CLEAR_LINE)
            self._output.err.flush()

    @asynccontextmanager
    async def status_line(self) -> AsyncGenerator[None, None]:
        """On a terminal, keep a line that says what the command waits for."""
        if self._output.as_json or self._output.err.is_plain:
            yield
            return
        self._wait_for("attempt 1")
        task = asyncio.create_task(self._update())
        try:
            yield
        finally:
            task.cancel()
            self.clear()

    def _print(self, name: str, event: Attempt | Retry, text: str) -> None:
        self.clear()
        if self._output.as_json:
            self._output.event(name, event)
        else:
            self.say(text)

    def _wait_for(self, what: str) -> None:
        self._waiting_for = what
        self._waiting_since = time.monotonic()

    async def _update(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            self._has_status = True
            self._output.err.write(f"{_CLEAR_LINE}{self._status()}")
            self._output.err.flush()

    def _status(self) -> str:
        now = time.monotonic()
        if now < self._retry_at:
            return f"Retrying in {duration(self._retry_at - now)}"
        return f"Waiting for {self._waiting_for}: {duration(now - self._waiting_since)}"


def without_class(error: str) -> str:
    """Remove the name of the Python class from the start of an attempt's error."""
    return _CLASS.sub("", error)


def _call(event: Attempt | Retry) -> str:
    return event.operation if event.items is None else f"{event.operation} ({event.items} items)"


def _reason(reason: str) -> str:
    """Return the reason of a retry without Python names, such as ``connection error``."""
    name = _CLASS_NAME.match(reason)
    return f"HTTP {reason}" if name is None else _WORD.sub(" ", name[1]).lower()
