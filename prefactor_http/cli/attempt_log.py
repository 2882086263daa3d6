"""What ``--verbose`` prints: each attempt as it ends, and on a terminal how long it waits."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from prefactor_http.cli.durations import duration
from prefactor_http.cli.output import Output
from prefactor_http.events import Attempt

_INTERVAL = 0.2  # seconds between updates of the status line
_CLEAR_LINE = "\r\x1b[2K"
# An error that is not the API's starts with the name of its class.
_CLASS = re.compile(r"^Prefactor\w+: ")


class AttemptLog:
    """Prints attempts to standard error.

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
        self._has_status = False

    def record(self, attempt: Attempt) -> None:
        """Print an attempt; a hook for `HttpClientConfig.on_attempt`."""
        self.clear()
        if self._output.as_json:
            self._output.event("attempt", attempt)
        else:
            result = attempt.status if attempt.error is None else _CLASS.sub("", attempt.error)
            self.say(
                f"{attempt.operation}  attempt {attempt.number}  {attempt.seconds:.3f} s  {result}"
            )
        is_done = attempt.error is None
        self._wait_for("the next response" if is_done else f"attempt {attempt.number + 1}")

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

    def _wait_for(self, what: str) -> None:
        self._waiting_for = what
        self._waiting_since = time.monotonic()

    async def _update(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            waited = duration(time.monotonic() - self._waiting_since)
            self._has_status = True
            self._output.err.write(f"{_CLEAR_LINE}Waiting for {self._waiting_for}: {waited}")
            self._output.err.flush()
