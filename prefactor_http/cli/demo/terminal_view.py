"""The demo on a terminal: a line for each agent, updated while it runs."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prefactor_http.cli.demo.audit import DemoSummary
from prefactor_http.cli.demo.tracker import AttemptOutcome, AttemptView
from prefactor_http.cli.demo.view import conclusion, summary_rows
from prefactor_http.exceptions import PrefactorHttpError

_MARKS = {
    AttemptOutcome.DONE: ("●", "green"),
    AttemptOutcome.RESPONSE_LOST: ("✗", "bold red"),
    AttemptOutcome.REPLAYED: ("↺", "bold cyan"),
    AttemptOutcome.NOT_DONE: ("○", "yellow"),
}
_LEGEND = {
    AttemptOutcome.DONE: "applied",
    AttemptOutcome.RESPONSE_LOST: "applied, response lost",
    AttemptOutcome.REPLAYED: "same key again: replayed",
    AttemptOutcome.NOT_DONE: "not applied, retried",
}
MARKS = "".join(mark for mark, _ in _MARKS.values())
"""Characters that the terminal must be able to display."""

_STATUS_STYLES = {"complete": "green", "failed": "magenta", "cancelled": "blue"}
_MIN_TRAIL, _MAX_TRAIL = 24, 40
_OTHER_COLUMNS = 56  # width of a line without its trail


class _Lane:
    """The line of an agent."""

    def __init__(self) -> None:
        self.trail = Text()
        self.verb = ""
        self.note = Text()
        self.ended: Counter[str] = Counter()


class TerminalView:
    """Draws a line per agent and redraws it in place.

    Args:
        agents: Names of the agents.
        faults: Share of attempts that the server makes fail.
        console: The terminal; by default standard output.
    """

    def __init__(self, agents: list[str], faults: float, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._faults = faults
        self._lanes = {agent: _Lane() for agent in agents}
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=15)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show_attempt(self, attempt: AttemptView) -> None:
        mark, style = _MARKS[attempt.outcome]
        lane = self._lanes[attempt.agent]
        lane.trail.append(mark, style)
        lane.verb = attempt.verb
        lane.note = Text(_note(attempt), style if not attempt.is_success else f"dim {style}")

    def show_run(self, agent: str, status: str) -> None:
        lane = self._lanes[agent]
        lane.trail.append("│", "dim")
        lane.ended[status] += 1
        lane.verb = ""
        lane.note = Text(", ").join(
            Text(f"{times} {ended}", _STATUS_STYLES[ended]) for ended, times in lane.ended.items()
        )

    def show_error(self, agent: str, error: PrefactorHttpError) -> None:
        lane = self._lanes[agent]
        lane.trail.append("!", "bold white on red")
        lane.note = Text(str(error), "bold red")

    def show_summary(self, summary: DemoSummary) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(style="dim")
        for name, count, meaning in summary_rows(summary):
            table.add_row(name, Text(str(count), _count_style(name, count)), meaning)
        self._console.print()
        self._console.print(table)
        self._console.print()
        self._console.print(
            Text("\n".join(conclusion(summary)), "green" if summary.is_success else "bold red")
        )

    def _render(self) -> Group:
        width = min(max(_MIN_TRAIL, self._console.width - _OTHER_COLUMNS), _MAX_TRAIL)
        lanes = Table.grid(padding=(0, 1), expand=True)
        lanes.add_column(no_wrap=True)
        lanes.add_column(width=width, no_wrap=True)
        lanes.add_column(width=len("register"), style="dim", no_wrap=True)
        lanes.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for name, lane in self._lanes.items():
            lanes.add_row(Text(name, "bold"), lane.trail[-width:], lane.verb, lane.note)
        title = Text.assemble(
            (f"{len(self._lanes)} agents", "bold"),
            " against a local Prefactor API that makes ",
            (f"{self._faults:.0%} of attempts", "bold"),
            " fail",
        )
        legend = Text("  ").join(
            Text.assemble(_MARKS[outcome], f" {meaning}") for outcome, meaning in _LEGEND.items()
        )
        return Group(title, Text(), lanes, Text(), legend)


def _note(attempt: AttemptView) -> str:
    if attempt.outcome is AttemptOutcome.REPLAYED:
        return "replayed"
    if attempt.is_success:
        return attempt.fault or "ok"
    return attempt.fault or attempt.error or ""


def _count_style(name: str, count: int) -> str:
    if name in {"doubled", "lost", "failed"}:
        return "bold red" if count else "bold green"
    return "bold"
