"""Shows how far a job is: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prefactor_http.cli.output import Output
from prefactor_http.cli.register.stats import Tally

LOG_SECONDS = 5.0
_REFRESHES_A_SECOND = 4


class Progress(Protocol):
    """Who is told how far a job is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """Show a message."""


class NullProgress:
    """Shows nothing: a machine reads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""

    def say(self, text: str) -> None:
        """Show nothing."""


class Bar:
    """A bar on a terminal, and the figures below it.

    Args:
        tally: The counts.
        output: Makes messages fit to be shown.
        console: The terminal.
    """

    def __init__(self, tally: Tally, output: Output, console: Console) -> None:
        self._tally = tally
        self._output = output
        self._share_at_start = tally.share
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=_REFRESHES_A_SECOND,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the last picture, and the cursor as it was."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._live.console.print(Text(self._output.line(text)), soft_wrap=True)

    def _picture(self) -> Group:
        tally = self._tally
        share = tally.share
        top = Table.grid(expand=True, padding=(0, 1))
        top.add_column(ratio=1)
        top.add_column(justify="right", no_wrap=True)
        left = tally.left(self._share_at_start)
        rest = "" if left is None else f"  {_span(left)} left"
        top.add_row(ProgressBar(total=1.0, completed=share), f"{share:4.0%}{rest}")
        return Group(top, _state(tally))


class Log:
    """Lines for a log.

    Args:
        tally: The counts.
        output: Where they go.
        seconds: Time between two lines.
    """

    def __init__(self, tally: Tally, output: Output, seconds: float = LOG_SECONDS) -> None:
        self._tally = tally
        self._output = output
        self._share_at_start = tally.share
        self._seconds = seconds
        self._over = threading.Event()
        # A thread, so that a line also comes while rows that are done are skipped.
        self._thread = threading.Thread(target=self._run, name="job-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the lines."""
        self._over.set()
        self._thread.join()

    def say(self, text: str) -> None:
        """Print a line."""
        self._output.say(text)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            tally = self._tally
            left = tally.left(self._share_at_start)
            rest = "" if left is None else f", {_span(left)} left"
            self.say(f"{tally.share:.0%}{rest}: {_state(tally).plain}")


def _state(tally: Tally) -> Text:
    away = tally.away
    text = Text(f"{tally.figures()}, {tally.rate:,.0f} rows/s")
    if away is not None:
        text.append(f"  waiting: API away for {away:.0f} s", style="yellow")
    return text


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
