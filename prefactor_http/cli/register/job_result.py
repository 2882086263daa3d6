"""The result of a job: its summary, and the error that the command exits with."""

from __future__ import annotations

from collections.abc import Generator

from prefactor_http.cli.error_messages import Advice, command_error, error_text
from prefactor_http.cli.errors import (
    CommandError,
    InvalidRowsError,
    RefusedError,
    RetryLaterError,
    StoppedError,
)
from prefactor_http.cli.output import Output
from prefactor_http.cli.register.job import Job
from prefactor_http.cli.register.job_request import JobRequest
from prefactor_http.cli.register.row_issues import RowIssues
from prefactor_http.cli.register.stats import JobStats
from prefactor_http.exceptions import PrefactorClientError, PrefactorHttpError


def print_summary(output: Output, stats: JobStats, issues: RowIssues, *, dry_run: bool) -> None:
    """Print the counts of a job."""
    ok, refused = stats.ok + stats.ok_before, stats.refused + stats.refused_before
    duplicates = f", {_count(stats.duplicates, 'duplicate')}" if stats.duplicates else ""
    if dry_run:
        text = (
            f"{_rows(stats.ok)} to register, {stats.refused:,} invalid{duplicates}; "
            "nothing was sent."
        )
    else:
        before = f" ({stats.ok_before:,} before)" if stats.ok_before else ""
        text = (
            f"{_rows(ok)} registered{before}, {refused:,} refused, {stats.unknown:,} unknown"
            f"{duplicates}; "
            f"{stats.seconds:.1f} s, {stats.rate:,.0f} rows/s, {stats.retried:,} retried."
        )
    output.show(
        [text],
        {
            "ok": ok,
            "refused": refused,
            "unknown": stats.unknown,
            "duplicates": stats.duplicates,
            "ok_before": stats.ok_before,
            "retried": stats.retried,
            "seconds": round(stats.seconds, 3),
            "dry_run": dry_run,
            **issues.as_json(),
        },
    )


def find_error(job: Job, stats: JobStats, request: JobRequest) -> CommandError | None:
    """Return the most severe error of a job; None if every row is registered."""
    errors = _dry_run_errors if request.options.dry_run else _errors
    return next(errors(job, stats, request), None)


def _dry_run_errors(
    job: Job, stats: JobStats, request: JobRequest
) -> Generator[CommandError, None, None]:
    unread = _unread(job, request)
    if unread is not None:
        yield InvalidRowsError(unread, "Correct the file; nothing was sent.")
    if job.has_too_many_failures:
        yield InvalidRowsError(_too_many(request), "Correct the rows; nothing was sent.")
    invalid = stats.refused + stats.changed_duplicates
    if invalid:
        yield InvalidRowsError(
            f"{_rows(invalid)} cannot be registered.", "Correct the rows; nothing was sent."
        )


def _errors(job: Job, stats: JobStats, request: JobRequest) -> Generator[CommandError, None, None]:
    next_step = request.next_step
    if job.error is not None:
        yield _error_of_run(job.error, stats, next_step)
    if job.results_error is not None:
        missing = [f"It lacks {_rows(job.unwritten)} of this run."] if job.unwritten else []
        yield RetryLaterError(f"{job.results_error}.", *missing, next_step)
    if job.signal is not None and not job.is_complete:
        message = f"stopped by {job.signal.name} before all rows were registered."
        yield StoppedError(job.signal, message, next_step)
    if job.deadline_passed and not job.is_complete:
        yield RetryLaterError("the deadline passed before all rows were registered.", next_step)
    unread = _unread(job, request)
    if unread is not None:
        kind = RefusedError if job.boundary_error is not None else RetryLaterError
        yield kind(unread, f"Correct the file. {next_step}")
    if job.has_too_many_failures:
        yield RefusedError(_too_many(request), f"Correct the rows. {next_step}")
    if stats.unknown:
        yield RetryLaterError(
            f"the outcome of {_rows(stats.unknown)} is unknown; the API may have registered them.",
            next_step,
        )
    yield from _row_errors(stats, request)


def _error_of_run(error: PrefactorHttpError, stats: JobStats, next_step: str) -> CommandError:
    if isinstance(error, PrefactorClientError) and stats.refused:
        # The client itself stops if row after row is refused.
        return RefusedError(f"{error_text(error)}.", next_step)
    result = command_error(error, Advice())
    result.further = (*result.further, next_step)
    return result


def _row_errors(stats: JobStats, request: JobRequest) -> Generator[CommandError, None, None]:
    refused = stats.refused + stats.refused_before
    if refused:
        if stats.refused_before:
            further = (
                f"Refused in earlier runs and not sent again: {stats.refused_before:,}. "
                f"Correct these rows, or remove their lines from {request.out}."
            )
        else:
            further = f"Correct the rows. {request.next_step}"
        yield RefusedError(f"{_rows(refused)} refused.", further)
    if stats.changed_duplicates:
        yield RefusedError(
            f"{_rows(stats.changed_duplicates)} not registered: same name as an earlier row, but "
            "different content.",
            "Give each row its own name.",
        )


def _unread(job: Job, request: JobRequest) -> str | None:
    if job.boundary_error is not None:
        return f"{request.name}, {job.boundary_error}; the rows from there on were not read."
    if job.read_error is not None:
        return f"{request.name} cannot be read to its end: {job.read_error}."
    return None


def _too_many(request: JobRequest) -> str:
    return f"stopped after {_count(request.options.max_failures or 0, 'failure')} (--max-failures)."


def _rows(count: int) -> str:
    return _count(count, "row")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
