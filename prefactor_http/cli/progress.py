"""Progress of a long command: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import IO, Protocol, Self, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prefactor_http.cli.output import Output

LOG_INTERVAL = 5.0
_REFRESHES_PER_SECOND = 4


class ProgressStats(Protocol):
    """What is shown of the progress."""

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""
        ...

    @property
    def seconds_down(self) -> float | None:
        """Seconds that the API has been down; None while it answers."""
        ...

    def seconds_left(self, share_at_start: float) -> float | None:
        """Estimate the seconds until the work is done; None if there is no basis for it."""
        ...

    def summary(self) -> str:
        """Return the counts, as text."""
        ...


class Progress(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """Print a message."""


class NullProgress:
    """Prints nothing, for ``--json``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


class Bar:
    """A progress bar on a terminal, with the counts below it.

    Args:
        stats: The counts.
        output: Escapes messages.
        console: The terminal.
    """

    def __init__(self, stats: ProgressStats, output: Output, console: Console) -> None:
        self._stats = stats
        self._output = output
        self._share_at_start = stats.share
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_REFRESHES_PER_SECOND,
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
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._live.console.print(Text(self._output.line(text)), soft_wrap=True)

    def _render(self) -> Group:
        stats = self._stats
        share = stats.share
        top = Table.grid(expand=True, padding=(0, 1))
        top.add_column(ratio=1)
        top.add_column(justify="right", no_wrap=True)
        left = stats.seconds_left(self._share_at_start)
        rest = "" if left is None else f"  {_duration(left)} left"
        top.add_row(ProgressBar(total=1.0, completed=share), f"{share:4.0%}{rest}")
        return Group(top, _state(stats))


class Log:
    """Progress lines in a log.

    Args:
        stats: The counts.
        output: Where to print them.
        interval: Seconds between two lines.
    """

    def __init__(
        self, stats: ProgressStats, output: Output, interval: float = LOG_INTERVAL
    ) -> None:
        self._stats = stats
        self._output = output
        self._share_at_start = stats.share
        self._interval = interval
        self._stopped = threading.Event()
        # A thread, because skipping the rows of earlier runs blocks the event loop.
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def say(self, text: str) -> None:
        """Print a line."""
        self._output.say(text)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            stats = self._stats
            left = stats.seconds_left(self._share_at_start)
            rest = "" if left is None else f", {_duration(left)} left"
            self.say(f"{stats.share:.0%}{rest}: {_state(stats).plain}")


def _state(stats: ProgressStats) -> Text:
    seconds_down = stats.seconds_down
    text = Text(stats.summary())
    if seconds_down is not None:
        text.append(f"  waiting: API down for {seconds_down:.0f} s", style="yellow")
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_for(output: Output, stats: ProgressStats) -> Progress:
    """Return the progress for an output: a bar, lines, or nothing with ``--json``."""
    if output.as_json:
        return NullProgress()
    console = Console(file=cast("IO[str]", output.err))
    return Bar(stats, output, console) if console.is_terminal else Log(stats, output)
