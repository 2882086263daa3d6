"""The demo in a pipe or a file: one line per attempt."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import click

from prefactor_http.cli.demo.audit import DemoSummary
from prefactor_http.cli.demo.tracker import AttemptOutcome, AttemptView
from prefactor_http.cli.demo.view import conclusion, summary_rows
from prefactor_http.exceptions import PrefactorHttpError


class PlainView:
    """Prints lines of ASCII text.

    Args:
        agents: Names of the agents.
        faults: Share of attempts that the server makes fail.
    """

    def __init__(self, agents: list[str], faults: float) -> None:
        self._agents = agents
        self._faults = faults
        self._width = max(map(len, agents))

    def __enter__(self) -> Self:
        click.echo(
            f"{len(self._agents)} agents run against a local Prefactor API that makes "
            f"{self._faults:.0%} of attempts fail."
        )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def show_attempt(self, attempt: AttemptView) -> None:
        self._line(
            attempt.agent,
            f"{attempt.verb:<8} #{attempt.number}  {attempt.outcome.value:<11} "
            f"{_explanation(attempt)}",
        )

    def show_run(self, agent: str, status: str) -> None:
        self._line(agent, f"run finished: {status}")

    def show_error(self, agent: str, error: PrefactorHttpError) -> None:
        self._line(agent, f"failed: {error}")

    def show_summary(self, summary: DemoSummary) -> None:
        click.echo()
        for name, count, meaning in summary_rows(summary):
            click.echo(f"{name:<15}{count:>4}  {meaning}")
        click.echo()
        for line in conclusion(summary):
            click.echo(line)

    def _line(self, agent: str, text: str) -> None:
        click.echo(f"{agent:<{self._width}}  {text}")


def _explanation(attempt: AttemptView) -> str:
    if attempt.outcome is AttemptOutcome.REPLAYED:
        return "the server knows the key and repeats its response"
    if attempt.is_success:
        return str(attempt.status) if attempt.fault is None else f"({attempt.fault})"
    cause = attempt.fault or attempt.error
    return f"{cause}; the client retries with the same key"
