"""What the demo shows; `TerminalView` and `LineView` render it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from msgspec import Struct

from prefactor_http.cli.demo.audit import AttemptOutcome, Counts


class ClientName(Enum):
    PLAIN = "without keys"
    PACKAGE = "prefactor-http"


class AttemptView(Struct, frozen=True, kw_only=True):
    """An attempt, as the client and the server saw it.

    Attributes:
        client: The client.
        agent: Name of the agent.
        verb: ``register``, ``start`` or ``finish``.
        number: 1 for the call's first attempt.
        outcome: What happened on the server.
        note: The client's error, or the HTTP status.
    """

    client: ClientName
    agent: str
    verb: str
    number: int
    outcome: AttemptOutcome
    note: str


class View(Protocol):
    """Shows the demo while it runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show_counts(self, counts: Mapping[ClientName, Counts]) -> None:
        """Show the counts of each client, which change while the demo runs."""

    def show_attempt(self, attempt: AttemptView) -> None:
        """Show an attempt."""

    def show_run(
        self, client: ClientName, agent: str, status: str, error: Exception | None
    ) -> None:
        """Show that a run of an agent has finished, or that it was given up after an error."""

    def show_conclusion(self, lines: list[str], commands: list[tuple[str, str]]) -> None:
        """Show the result and the commands to try next, after the context is left."""


def title(agents: int, faults: float, seed: int) -> str:
    return f"{agents} agents, two clients, {faults:.0%} of attempts fail (seed {seed})"


def count_rows(counts: Mapping[ClientName, Counts]) -> list[tuple[str, list[int]]]:
    """Return the name of each count, with its value for each client."""
    return [
        ("applied twice", [each.doubled for each in counts.values()]),
        ("lost", [each.lost for each in counts.values()]),
        ("wrongly failed", [each.misreported for each in counts.values()]),
    ]


def conclusion(counts: Mapping[ClientName, Counts]) -> list[str]:
    """Return sentences that say what the counts mean."""
    plain, package = counts[ClientName.PLAIN], counts[ClientName.PACKAGE]
    without_keys = (
        f"Without keys, of {plain.planned} writes {plain.doubled} were applied twice, "
        f"{plain.misreported} were reported as failed although they were applied, and {plain.lost} "
        "were lost: their run was given up after an error."
    )
    lines = [without_keys]
    if package.is_correct:
        lines.append(f"prefactor-http applied each of the {package.planned} writes exactly once.")
    else:
        lines.append("prefactor-http applied a write twice, lost it or misreported it.")
        lines.append("This must not happen. Please report it, with the seed and the output above.")
    return lines


def next_commands(faults: float, seed: int) -> list[tuple[str, str]]:
    """Return the commands to try next, with what they do."""
    return [
        (f"prefactor-http demo --seed {seed + 1}", "other faults"),
        (f"prefactor-http serve --faults {faults:g} --log", "a failing API"),
        ("prefactor-http ping --verbose", "a call to it"),
    ]
