"""What the demo shows; `TerminalView` and `PlainView` render it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from prefactor_http.cli.demo.audit import DemoSummary
from prefactor_http.cli.demo.tracker import AttemptView
from prefactor_http.exceptions import PrefactorHttpError


class View(Protocol):
    """Shows the demo while it runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show_attempt(self, attempt: AttemptView) -> None:
        """Show an attempt."""

    def show_run(self, agent: str, status: str) -> None:
        """Show that a run of an agent has finished."""

    def show_error(self, agent: str, error: PrefactorHttpError) -> None:
        """Show that a call of an agent has failed."""

    def show_summary(self, summary: DemoSummary) -> None:
        """Show the result, after the context is left."""


def summary_rows(summary: DemoSummary) -> list[tuple[str, int, str]]:
    """Return the rows of the result: name, count, explanation."""
    table = [
        ("calls", summary.calls, f"register, start and finish of {summary.runs} runs"),
        ("attempts", summary.attempts, f"the server made {summary.faulty} of them fail"),
        ("responses lost", summary.responses_lost, "writes that were applied without a response"),
        ("replays", summary.replays, "retries that were answered and not applied again"),
        ("doubled", summary.doubled, "writes applied on the server that no call reported"),
        ("lost", summary.lost, "calls reported as done but not applied on the server"),
    ]
    if summary.failed:
        table.append(("failed", summary.failed, "calls that ended in an error"))
    return table


def conclusion(summary: DemoSummary) -> list[str]:
    """Return sentences that say what the result means."""
    if not summary.is_success:
        return [
            "This must not happen: a write was applied twice, lost, or failed.",
            "Please report it, with the seed and the output above.",
        ]
    return [
        (
            f"All {summary.calls} writes were applied exactly once, although "
            f"{summary.faulty} of {summary.attempts} attempts failed."
        ),
        (
            f"{summary.responses_lost} times the response was lost after the write. Without an "
            "idempotency key, a retry would have applied the write twice or been refused."
        ),
    ]
