"""The demo on a terminal: a line for each agent, with both clients side by side."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prefactor_http.cli.demo.audit import AttemptOutcome, Counts
from prefactor_http.cli.demo.view import AttemptView, ClientName, count_rows

_MARKS = {
    AttemptOutcome.DONE: ("●", "green"),
    AttemptOutcome.RESPONSE_LOST: ("✗", "yellow"),
    AttemptOutcome.DOUBLED: ("2", "bold white on red"),
    AttemptOutcome.REPLAYED: ("↺", "bold cyan"),
    AttemptOutcome.NOT_DONE: ("○", "yellow"),
    AttemptOutcome.REFUSED: ("!", "bold white on red"),
}
_LEGEND = (
    {
        AttemptOutcome.DONE: "applied",
        AttemptOutcome.NOT_DONE: "not applied",
        AttemptOutcome.RESPONSE_LOST: "applied, response lost",
    },
    {
        AttemptOutcome.DOUBLED: "applied twice",
        AttemptOutcome.REFUSED: "wrongly failed",
        AttemptOutcome.REPLAYED: "same key: replayed",
    },
)
_END_OF_RUN = "│"
MARKS = _END_OF_RUN + "".join(mark for mark, _ in _MARKS.values())
"""Characters that the terminal must be able to display."""
MIN_WIDTH, MIN_HEIGHT = 60, 24

_GAP = 2
_MAX_TRAIL = 40


class TerminalView:
    """Draws a line per agent and redraws it in place.

    Args:
        title: The first line.
        agents: Names of the agents.
        console: The terminal; by default standard output.
    """

    def __init__(self, title: str, agents: list[str], console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._title = title
        self._names = agents
        self._counts: Mapping[ClientName, Counts] = {}
        # Lists, because a thread renders while marks are added: a Text changes in several steps.
        self._trails: dict[tuple[ClientName, str], list[tuple[str, str]]] = {
            (client, agent): [] for client in ClientName for agent in agents
        }
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

    def show_counts(self, counts: Mapping[ClientName, Counts]) -> None:
        self._counts = counts

    def show_attempt(self, attempt: AttemptView) -> None:
        self._trails[attempt.client, attempt.agent].append(_MARKS[attempt.outcome])

    def show_run(
        self, client: ClientName, agent: str, status: str, error: Exception | None
    ) -> None:
        del status, error
        self._trails[client, agent].append((_END_OF_RUN, "dim"))

    def show_conclusion(self, lines: list[str], commands: list[tuple[str, str]]) -> None:
        self._console.print()
        is_correct = self._counts[ClientName.PACKAGE].is_correct
        self._console.print(Text(lines[0], "red"))
        self._console.print(Text("\n".join(lines[1:]), "green" if is_correct else "bold red"))
        self._console.print("\nTry next:")
        table = Table.grid(padding=(0, _GAP))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(style="dim")
        for command, meaning in commands:
            table.add_row(f"  {command}", meaning)
        self._console.print(table)

    def _render(self) -> Group:
        names = max(map(len, self._names))
        width = min((self._console.width - names - 2 * _GAP) // 2, _MAX_TRAIL)
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(no_wrap=True, width=names)
        for _ in ClientName:
            grid.add_column(no_wrap=True, width=width)
        grid.add_row("", *(Text(client.value, "bold") for client in ClientName))
        for agent in self._names:
            trails = (self._trails[client, agent][-width:] for client in ClientName)
            grid.add_row(agent, *(Text.assemble(*trail) for trail in trails))
        grid.add_row()
        for name, values in count_rows(self._counts):
            cells = (Text(str(value), "bold red" if value else "bold green") for value in values)
            grid.add_row(Text(name, "bold"), *cells)
        legend = [
            Text("  ").join(
                Text.assemble(_MARKS[outcome], f" {meaning}") for outcome, meaning in row.items()
            )
            for row in _LEGEND
        ]
        return Group(Text(self._title, "bold"), grid, Text(), *legend)
