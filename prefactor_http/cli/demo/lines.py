"""The demo in a pipe: a plain line for each attempt."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import click

from prefactor_http.cli.demo.audit import Verdict
from prefactor_http.cli.demo.show import rows, sentences
from prefactor_http.cli.demo.tracker import Outcome, Sighting
from prefactor_http.exceptions import PrefactorHttpError


class Lines:
    """Prints lines of ASCII, so that any pipe takes them.

    Args:
        agents: Names of the agents.
        faults: Share of attempts that the server makes faulty.
    """

    def __init__(self, agents: list[str], faults: float) -> None:
        self._agents = agents
        self._faults = faults
        self._width = max(map(len, agents))

    def __enter__(self) -> Self:
        click.echo(
            f"{len(self._agents)} agents run against a local Prefactor API that makes "
            f"{self._faults:.0%} of attempts faulty."
        )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""

    def attempted(self, sighting: Sighting) -> None:
        """Print what happened to an attempt, and what the client does about it."""
        self._line(
            sighting.agent,
            f"{sighting.verb:<8} #{sighting.number}  {sighting.outcome.value:<11} "
            f"{_story(sighting)}",
        )

    def run_ended(self, agent: str, status: str) -> None:
        """Print how a run ended."""
        self._line(agent, f"run ended: {status}")

    def gave_up(self, agent: str, error: PrefactorHttpError) -> None:
        """Print the error."""
        self._line(agent, f"gave up: {error}")

    def conclude(self, verdict: Verdict) -> None:
        """Print the table."""
        click.echo()
        for name, figure, meaning in rows(verdict):
            click.echo(f"{name:<13}{figure:>4}  {meaning}")
        click.echo()
        for sentence in sentences(verdict):
            click.echo(sentence)

    def _line(self, agent: str, text: str) -> None:
        click.echo(f"{agent:<{self._width}}  {text}")


def _story(sighting: Sighting) -> str:
    if sighting.outcome is Outcome.REPLAYED:
        return "the server knows the key and repeats its answer"
    if sighting.is_success:
        return str(sighting.status) if sighting.fault is None else f"({sighting.fault})"
    cause = sighting.fault or sighting.error
    return f"{cause}: the client sends the same key again"
