"""The demo in a pipe, a file or a simple terminal: one line per attempt."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import click

from prefactor_http.cli.demo.audit import AttemptOutcome, Counts
from prefactor_http.cli.demo.view import AttemptView, ClientName, count_rows

_MEANINGS = {
    AttemptOutcome.REPLAYED: "the server knows the key and repeats its response",
    AttemptOutcome.DOUBLED: "the server cannot know that it is a retry",
    AttemptOutcome.REFUSED: "the client reports a failure",
}
_LINE_WIDTH = 78
_NAME_WIDTH = max(len(name.value) for name in ClientName)


class LineView:
    """Prints lines of ASCII text.

    Args:
        title: The first line.
        agents: Names of the agents.
    """

    def __init__(self, title: str, agents: list[str]) -> None:
        self._title = title
        self._width = max(map(len, agents))
        self._counts: Mapping[ClientName, Counts] = {}
        self._printed: dict[ClientName, list[int]] = {}

    def __enter__(self) -> Self:
        click.echo(self._title)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def show_counts(self, counts: Mapping[ClientName, Counts]) -> None:
        self._counts = counts

    def show_attempt(self, attempt: AttemptView) -> None:
        note = attempt.note
        if attempt.outcome in _MEANINGS:
            note = f"{note}: {_MEANINGS[attempt.outcome]}"
        self._line(
            attempt.client,
            attempt.agent,
            f"{attempt.verb:<8} #{attempt.number}  {attempt.outcome.value:<13}  {note}",
        )

    def show_run(
        self, client: ClientName, agent: str, status: str, error: Exception | None
    ) -> None:
        ended = f"run finished: {status}" if error is None else f"run given up: {error}"
        self._line(client, agent, ended)
        rows = count_rows({client: self._counts[client]})
        values = [count for _, (count,) in rows]
        if any(values) and self._printed.get(client) != values:
            self._printed[client] = values
            counts = ", ".join(f"{count} {name}" for name, (count,) in rows)
            click.echo(f"{client.value:<{_NAME_WIDTH}}  so far: {counts}")

    def show_conclusion(self, lines: list[str], commands: list[tuple[str, str]]) -> None:
        click.echo()
        names = "  ".join(f"{name.value:>{_NAME_WIDTH}}" for name in self._counts)
        click.echo(f"{'':<15}{names}")
        for name, values in count_rows(self._counts):
            cells = "  ".join(f"{value:>{_NAME_WIDTH}}" for value in values)
            click.echo(f"{name:<15}{cells}")
        click.echo()
        for line in lines:
            click.echo(textwrap.fill(line, min(_LINE_WIDTH, shutil.get_terminal_size().columns)))
        click.echo("\nTry next:")
        width = max(len(command) for command, _ in commands)
        for command, meaning in commands:
            click.echo(f"  {command:<{width}}  # {meaning}")

    def _line(self, client: ClientName, agent: str, text: str) -> None:
        click.echo(f"{client.value:<{_NAME_WIDTH}}  {agent:<{self._width}}  {text}")
