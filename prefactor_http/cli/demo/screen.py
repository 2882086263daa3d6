"""The demo on a terminal: a lane for each agent, moving while it runs."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prefactor_http.cli.demo.audit import Verdict
from prefactor_http.cli.demo.show import rows, sentences
from prefactor_http.cli.demo.tracker import Outcome, Sighting
from prefactor_http.exceptions import PrefactorHttpError

_MARKS = {
    Outcome.DONE: ("●", "green"),
    Outcome.REPLY_LOST: ("✗", "bold red"),
    Outcome.REPLAYED: ("↺", "bold cyan"),
    Outcome.NOT_DONE: ("○", "yellow"),
}
_LEGEND = {
    Outcome.DONE: "done",
    Outcome.REPLY_LOST: "done, reply lost",
    Outcome.REPLAYED: "same key again: replayed",
    Outcome.NOT_DONE: "not done, repeated",
}
MARKS = "".join(mark for mark, _ in _MARKS.values())
"""What the terminal must be able to show."""

_STATUS_STYLES = {"complete": "green", "failed": "magenta", "cancelled": "blue"}
_NARROWEST_TRAIL, _WIDEST_TRAIL = 24, 40
_REST = 56  # columns that a line takes besides its trail


class _Lane:
    """What one agent's line shows."""

    def __init__(self) -> None:
        self.trail = Text()
        self.verb = ""
        self.note = Text()
        self.ended: Counter[str] = Counter()


class Screen:
    """A picture of the demo, redrawn in place.

    Args:
        agents: Names of the agents.
        faults: Share of attempts that the server makes faulty.
        console: Where to draw.
    """

    def __init__(self, agents: list[str], faults: float, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._faults = faults
        self._lanes = {agent: _Lane() for agent in agents}
        self._live = Live(
            get_renderable=self._picture, console=self._console, refresh_per_second=15
        )

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

    def attempted(self, sighting: Sighting) -> None:
        """Add a mark to the agent's trail."""
        mark, style = _MARKS[sighting.outcome]
        lane = self._lanes[sighting.agent]
        lane.trail.append(mark, style)
        lane.verb = sighting.verb
        lane.note = Text(_note(sighting), style if not sighting.is_success else f"dim {style}")

    def run_ended(self, agent: str, status: str) -> None:
        """Close the run in the agent's trail."""
        lane = self._lanes[agent]
        lane.trail.append("│", "dim")
        lane.ended[status] += 1
        lane.verb = ""
        lane.note = Text(", ").join(
            Text(f"{times} {ended}", _STATUS_STYLES[ended]) for ended, times in lane.ended.items()
        )

    def gave_up(self, agent: str, error: PrefactorHttpError) -> None:
        """Show the error in the agent's line."""
        lane = self._lanes[agent]
        lane.trail.append("!", "bold white on red")
        lane.note = Text(str(error), "bold red")

    def conclude(self, verdict: Verdict) -> None:
        """Draw the table below the picture."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(style="dim")
        for name, figure, meaning in rows(verdict):
            table.add_row(name, Text(str(figure), _figure_style(name, figure)), meaning)
        self._console.print()
        self._console.print(table)
        self._console.print()
        self._console.print(
            Text("\n".join(sentences(verdict)), "green" if verdict.holds else "bold red")
        )

    def _picture(self) -> Group:
        width = min(max(_NARROWEST_TRAIL, self._console.width - _REST), _WIDEST_TRAIL)
        lanes = Table.grid(padding=(0, 1), expand=True)
        lanes.add_column(no_wrap=True)
        lanes.add_column(width=width, no_wrap=True)
        lanes.add_column(width=len("register"), style="dim", no_wrap=True)
        lanes.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for name, lane in self._lanes.items():
            lanes.add_row(Text(name, "bold"), lane.trail[-width:], lane.verb, lane.note)
        title = Text.assemble(
            (f"{len(self._lanes)} agents", "bold"),
            " against a local Prefactor API that breaks ",
            (f"{self._faults:.0%} of attempts", "bold"),
        )
        legend = Text("  ").join(
            Text.assemble(_MARKS[outcome], f" {meaning}") for outcome, meaning in _LEGEND.items()
        )
        return Group(title, Text(), lanes, Text(), legend)


def _note(sighting: Sighting) -> str:
    if sighting.outcome is Outcome.REPLAYED:
        return "replayed"
    if sighting.is_success:
        return sighting.fault or "ok"
    return sighting.fault or sighting.error or ""


def _figure_style(name: str, figure: int) -> str:
    if name in {"doubled", "lost", "given up"}:
        return "bold red" if figure else "bold green"
    return "bold"
