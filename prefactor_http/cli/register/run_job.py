"""Runs the job of a file with many rows: sets up its parts, then prints its result."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import closing, suppress
from typing import Any

from prefactor_http.cli import event_loop as _event_loop
from prefactor_http.cli.connection import Connection
from prefactor_http.cli.errors import InputError
from prefactor_http.cli.progress import progress_for
from prefactor_http.cli.register.duplicates import DuplicateCheck
from prefactor_http.cli.register.fields import PARTS
from prefactor_http.cli.register.job import Job
from prefactor_http.cli.register.job_request import JobRequest
from prefactor_http.cli.register.job_result import find_error, print_summary
from prefactor_http.cli.register.results_file import ResultsError, ResultsFile
from prefactor_http.cli.register.row_issues import RowIssues
from prefactor_http.cli.register.row_reader import (
    UNREADABLE,
    RowBoundaryError,
    Rows,
    decompressed,
    read_csv,
    read_json_lines,
)
from prefactor_http.cli.register.row_validator import RowValidator
from prefactor_http.cli.register.stats import JobStats
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig

_PART_OPTIONS = {"agent_version": "--agent-version", "agent_schema_version": "--schema"}
_ROWS_SAMPLED = 100


def run_job(connection: Connection, request: JobRequest) -> None:
    """Register the rows of a file.

    Raises:
        CommandError: Not every row is registered.
    """
    dry_run = request.options.dry_run
    config = None if dry_run else connection.config()
    encode = connection.output.json_line
    with ResultsFile(request.out, encode, is_read_only=dry_run) as results:
        if request.job is None and (results.ok or results.refused):
            raise InputError(
                f"{request.out} has the results of an earlier run.",
                "To resume that run, add its --job. Otherwise choose another file for --out.",
            )
        _run(connection, config, results, request)


def _run(
    connection: Connection,
    config: HttpClientConfig | None,
    results: ResultsFile,
    request: JobRequest,
) -> None:
    output, options = connection.output, request.options
    size = _size_of(request)
    _check_parts(request)
    rows = _rows_of(request)
    stats = JobStats(
        request.file,
        size,
        started=time.monotonic(),
        ok_before=results.ok,
        refused_before=results.refused,
    )
    progress = progress_for(output, stats)
    if connection.attempt_log is not None:
        connection.attempt_log.say = progress.say  # above the bar
    issues = RowIssues(request.name, request.out, progress)
    job = Job(
        rows,
        RowValidator(request.shared, request.job, request.key_check),
        DuplicateCheck(request.shared.get("agent_id"), has_job=request.job is not None),
        results,
        stats,
        issues,
        keys_are_known=request.job is not None or request.out is not None,
        max_failures=options.max_failures,
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
        job.results_error = job.results_error or str(exc)
    output.say(*issues.closing_lines())
    print_summary(output, stats, issues, dry_run=options.dry_run)
    error = find_error(job, stats, request)
    if error is not None:
        raise error


async def _register(job: Job, config: HttpClientConfig, request: JobRequest) -> None:
    async with PrefactorHttpClient(config) as client:
        await job.run(client, request.shared, request.options, config.on_attempt)


def _size_of(request: JobRequest) -> int:
    try:
        request.file.read(1)
        return request.file.seek(0, os.SEEK_END)
    except OSError as exc:
        raise InputError(f"cannot read {request.name}: {exc}.", "Nothing was sent.") from None


def _rows_of(request: JobRequest) -> Rows:
    request.file.seek(0)
    plain = decompressed(request.file)
    if request.format == "csv":
        return read_csv(plain, request.name)
    return read_json_lines(plain)


def _check_parts(request: JobRequest) -> None:
    """Check that the options or one of the first rows have the objects that are required.

    A forgotten option is then one error, not an error of every row.

    Raises:
        InputError: None of them has.
    """
    missing = [field for field in PARTS if field not in request.shared]
    if not missing:
        return
    found: list[dict[str, Any]] = []
    with closing(_rows_of(request)) as rows, suppress(RowBoundaryError, *UNREADABLE):
        first = itertools.islice(rows, _ROWS_SAMPLED)
        found.extend(row.fields for row in first if row.fields is not None)
    lacking = [field for field in missing if found and all(row.get(field) is None for row in found)]
    if lacking:
        raise InputError(
            f"{request.name} has no {' and no '.join(lacking)}.",
            f"Add {' and '.join(f'{_PART_OPTIONS[field]} FILE' for field in lacking)}, or put "
            f"{' and '.join(lacking)} into the rows; nothing was sent.",
        )
