"""Registers many rows: puts the job together, and says how it ended."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Generator
from contextlib import closing, suppress
from typing import IO, Any, BinaryIO, cast

from msgspec import Struct
from rich.console import Console

from prefactor_http.cli import event_loop as _event_loop
from prefactor_http.cli.connection import Connection
from prefactor_http.cli.errors import (
    Interrupted,
    Invalid,
    Problem,
    Refused,
    Unsettled,
    WrongUsage,
)
from prefactor_http.cli.explanations import Advice, error_text, problem_of
from prefactor_http.cli.output import Output
from prefactor_http.cli.register.duplicates import Duplicates
from prefactor_http.cli.register.fields import PARTS
from prefactor_http.cli.register.job import Bounds, Job
from prefactor_http.cli.register.progress import Bar, Log, NullProgress, Progress
from prefactor_http.cli.register.results_file import Results, ResultsError
from prefactor_http.cli.register.row_check import RowCheck
from prefactor_http.cli.register.row_report import RowReport
from prefactor_http.cli.register.rows import (
    UNREADABLE,
    LostPosition,
    Rows,
    read_csv,
    read_json_lines,
    unpacked,
)
from prefactor_http.cli.register.stats import Tally
from prefactor_http.cli.register.unknown_keys import KeyCheck
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError, PrefactorHttpError

_OPTIONS = {"agent_version": "--agent-version", "agent_schema_version": "--schema"}
_ROWS_LOOKED_AT = 100


class JobRequest(Struct, frozen=True):
    """What is to be registered, and how.

    Attributes:
        file: The rows, from the start.
        name: What messages call the file.
        format: ``jsonl`` or ``csv``.
        shared: Fields that rows take where they lack them.
        job: Name of the job; None for random keys.
        out: The file of results, if there is to be one.
        key_check: Checks the keys of objects in rows.
        bounds: How to run.
    """

    file: BinaryIO
    name: str
    format: str
    shared: dict[str, Any]
    job: str | None
    out: str | None
    key_check: KeyCheck
    bounds: Bounds

    @property
    def next_step(self) -> str:
        """What to do when not all rows are registered."""
        if self.job is None:
            return (
                "Some rows may be registered already: without --job, running again registers them "
                "again."
            )
        if self.out is None:
            return "Run the same command again: no row is registered twice."
        return "Run the same command again to go on."


def register_rows(connection: Connection, request: JobRequest) -> None:
    """Register the rows of a file.

    Raises:
        Problem: Not every row is registered.
    """
    dry_run = request.bounds.dry_run
    config = None if dry_run else connection.config()
    encode = connection.output.json_line
    with Results(request.out, encode, is_read_only=dry_run) as results:
        if request.job is None and (results.ok or results.refused):
            raise WrongUsage(
                f"{request.out} has results already.",
                "Give the --job that they are of to go on, or another file.",
            )
        _run(connection.output, config, results, request)


def _run(
    output: Output, config: HttpClientConfig | None, results: Results, request: JobRequest
) -> None:
    bounds = request.bounds
    size = _size_of(request)
    _check_parts(request)
    rows = _rows_of(request)
    tally = Tally(
        request.file, size, time.monotonic(), ok_before=results.ok, refused_before=results.refused
    )
    progress = _progress_for(output, tally)
    report = RowReport(request.name, request.out, progress)
    job = Job(
        rows,
        RowCheck(request.shared, request.job, request.key_check),
        Duplicates(request.shared.get("agent_id"), has_job=request.job is not None),
        results,
        tally,
        report,
        keeps_keys=request.job is not None or request.out is not None,
        max_failures=bounds.max_failures,
    )
    with progress:
        if config is None:
            job.dry_run()
        else:
            output.has_sent = True
            _event_loop.run(lambda: _register(job, config, request))
    try:
        results.save()
    except ResultsError as exc:
        job.lost_results = job.lost_results or str(exc)
    output.say(*report.closing_lines())
    _summarize(output, tally, report, dry_run=bounds.dry_run)
    problems = _dry_problems if bounds.dry_run else _problems
    problem = next(problems(job, tally, request), None)
    if problem is not None:
        raise problem


async def _register(job: Job, config: HttpClientConfig, request: JobRequest) -> None:
    async with PrefactorHttpClient(config) as client:
        await job.run(client, request.shared, request.bounds)


def _size_of(request: JobRequest) -> int:
    """Measure the file.

    Raises:
        WrongUsage: It cannot be read.
    """
    try:
        request.file.read(1)
        return request.file.seek(0, os.SEEK_END)
    except OSError as exc:
        raise WrongUsage(f"{request.name} cannot be read: {exc}.", "Nothing was sent.") from None


def _rows_of(request: JobRequest) -> Rows:
    """Read the rows from the start.

    Raises:
        WrongUsage: The header of a CSV file cannot be used.
    """
    request.file.seek(0)
    plain = unpacked(request.file)
    if request.format == "csv":
        return read_csv(plain, request.name)
    return read_json_lines(plain)


def _check_parts(request: JobRequest) -> None:
    """See whether the rows have the objects that every instance needs.

    Raises:
        WrongUsage: Neither the options nor any of the first rows have them. Otherwise a forgotten
            option would be reported for every row.
    """
    missing = [field for field in PARTS if field not in request.shared]
    if not missing:
        return
    found: list[dict[str, Any]] = []
    with closing(_rows_of(request)) as rows, suppress(LostPosition, *UNREADABLE):
        first = itertools.islice(rows, _ROWS_LOOKED_AT)
        found.extend(row.fields for row in first if row.fields is not None)
    lacking = [field for field in missing if found and all(row.get(field) is None for row in found)]
    if lacking:
        raise WrongUsage(
            f"{request.name} has no {' and no '.join(lacking)}.",
            f"Give {' and '.join(f'{_OPTIONS[field]} FILE' for field in lacking)}, or add "
            f"{' and '.join(lacking)} to the rows; nothing was sent.",
        )


def _progress_for(output: Output, tally: Tally) -> Progress:
    if output.as_json:
        return NullProgress()
    console = Console(file=cast("IO[str]", output.err))
    return Bar(tally, output, console) if console.is_terminal else Log(tally, output)


def _dry_problems(job: Job, tally: Tally, request: JobRequest) -> Generator[Problem, None, None]:
    """Say what a dry run found."""
    unread = _unread(job, request)
    if unread is not None:
        yield Invalid(unread, "Correct the file; nothing was sent.")
    if job.has_failed:
        yield Invalid(_too_many(request), "Correct them; nothing was sent.")
    invalid = tally.refused + tally.changed_duplicates
    if invalid:
        yield Invalid(f"{_rows(invalid)} cannot be registered.", "Correct them; nothing was sent.")


def _problems(job: Job, tally: Tally, request: JobRequest) -> Generator[Problem, None, None]:
    """Say why not every row is registered, the most severe reason first."""
    next_step = request.next_step
    if job.error is not None:
        yield _problem_of_error(job.error, tally, next_step)
    if job.lost_results is not None:
        lacks = [f"It lacks {_rows(job.unwritten)} of this run."] if job.unwritten else []
        yield Unsettled(f"{job.lost_results}.", *lacks, next_step)
    if job.signal is not None and not job.is_complete:
        message = f"stopped by {job.signal.name} before all rows were registered."
        yield Interrupted(job.signal, message, next_step)
    if job.has_expired and not job.is_complete:
        yield Unsettled("the deadline passed before all rows were registered.", next_step)
    unread = _unread(job, request)
    if unread is not None:
        kind = Refused if job.lost_position is not None else Unsettled
        yield kind(unread, f"Correct the file. {next_step}")
    if job.has_failed:
        yield Refused(_too_many(request), f"Correct them. {next_step}")
    if tally.unknown:
        yield Unsettled(f"{_rows(tally.unknown)} may be registered or not.", next_step)
    yield from _problems_of_rows(tally, request)


def _problem_of_error(error: PrefactorHttpError, tally: Tally, next_step: str) -> Problem:
    if isinstance(error, PrefactorClientError) and tally.refused:
        # Not the API's, but the client's own: it does not go on as long as all rows are refused.
        return Refused(f"{error_text(error)}.", next_step)
    problem = problem_of(error, Advice())
    problem.further = (*problem.further, next_step)
    return problem


def _problems_of_rows(tally: Tally, request: JobRequest) -> Generator[Problem, None, None]:
    refused = tally.refused + tally.refused_before
    if refused:
        before: list[str] = []
        if tally.refused_before:
            before.append(
                f"{tally.refused_before:,} of them in runs before, and not sent again: correct "
                f"them, or remove their lines from {request.out}."
            )
        yield Refused(f"{_rows(refused)} refused.", *before)
    if tally.changed_duplicates:
        yield Refused(
            f"{_rows(tally.changed_duplicates)} not registered: the name of an earlier row, but "
            "other content.",
            "Give each row a name of its own.",
        )


def _unread(job: Job, request: JobRequest) -> str | None:
    if job.lost_position is not None:
        return f"{request.name}, {job.lost_position}; the rows from there on were not read."
    if job.unreadable is not None:
        return f"{request.name} cannot be read any further: {job.unreadable}."
    return None


def _too_many(request: JobRequest) -> str:
    return f"stopped after {request.bounds.max_failures} failures (--max-failures)."


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _summarize(output: Output, tally: Tally, report: RowReport, *, dry_run: bool) -> None:
    ok, refused = tally.ok + tally.ok_before, tally.refused + tally.refused_before
    duplicates = f", {_duplicates(tally.duplicates)}" if tally.duplicates else ""
    if dry_run:
        text = (
            f"{_rows(tally.ok)} to register, {tally.refused:,} invalid{duplicates}; "
            "nothing was sent."
        )
    else:
        before = f" ({tally.ok_before:,} before)" if tally.ok_before else ""
        text = (
            f"{_rows(ok)} registered{before}, {refused:,} refused, {tally.unknown:,} unknown"
            f"{duplicates}; "
            f"{tally.seconds:.1f} s, {tally.rate:,.0f} rows/s, {tally.retried:,} retried."
        )
    output.show(
        [text],
        {
            "ok": ok,
            "refused": refused,
            "unknown": tally.unknown,
            "duplicates": tally.duplicates,
            "ok_before": tally.ok_before,
            "retried": tally.retried,
            "seconds": round(tally.seconds, 3),
            "dry_run": dry_run,
            **report.as_json(),
        },
    )


def _duplicates(count: int) -> str:
    return f"{count:,} duplicate" if count == 1 else f"{count:,} duplicates"
