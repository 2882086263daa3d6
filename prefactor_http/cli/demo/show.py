"""What the demo tells, and in which words; a terminal and a pipe show it in their own ways."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from prefactor_http.cli.demo.audit import Verdict
from prefactor_http.cli.demo.tracker import Sighting
from prefactor_http.exceptions import PrefactorHttpError


class Show(Protocol):
    """Who is told what happens, as it happens."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def attempted(self, sighting: Sighting) -> None:
        """Tell of an attempt."""

    def run_ended(self, agent: str, status: str) -> None:
        """Tell that an agent's run ended with a status."""

    def gave_up(self, agent: str, error: PrefactorHttpError) -> None:
        """Tell that a call of an agent ended in an error."""

    def conclude(self, verdict: Verdict) -> None:
        """Tell what it all came to, once the show is over."""


def rows(verdict: Verdict) -> list[tuple[str, int, str]]:
    """Name the verdict's figures: the name, the figure, what it counts."""
    table = [
        ("calls", verdict.calls, f"register, start and finish of {verdict.runs} runs"),
        ("attempts", verdict.attempts, f"{verdict.faulty} of them made faulty by the server"),
        ("replies lost", verdict.replies_lost, "the write took effect, its reply never arrived"),
        ("replays", verdict.replays, "the same key again: answered, nothing done a second time"),
        ("doubled", verdict.doubled, "effects on the server beyond those the client reported"),
        ("lost", verdict.lost, "reports of the client without an effect on the server"),
    ]
    if verdict.given_up:
        table.append(("given up", verdict.given_up, "calls that ended in an error"))
    return table


def sentences(verdict: Verdict) -> list[str]:
    """Say in two sentences what the demo proves."""
    if not verdict.holds:
        return [
            "This must not happen: a write was doubled, lost or given up.",
            "Please report it, with the seed and the output above.",
        ]
    proof = (
        f"Every one of {verdict.calls} writes took effect exactly once, although "
        f"{verdict.faulty} of {verdict.attempts} attempts went wrong."
    )
    worth = (
        f"{verdict.replies_lost} times the reply was lost after the write: repeated without a key "
        "it would have been doubled or refused, not repeated it would have passed for a failure."
    )
    return [proof, worth]
