"""Registers many rows: puts the job together, and says how it ended."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import zlib
from typing import Any, BinaryIO

import click
from rich.console import Console

from prefactor_http.cli._api_call import Connection, problem_of
from prefactor_http.cli._job import Bounds, Job
from prefactor_http.cli._job_progress import Bar, Log, Progress, Silence
from prefactor_http.cli._job_tally import Tally
from prefactor_http.cli._output import Problem, Refused, Unsettled, WrongUsage, echo_json
from prefactor_http.cli._results import Results
from prefactor_http.cli._row_check import RowCheck
from prefactor_http.cli._rows import read_csv, read_json_lines, unpacked
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError, PrefactorHttpError


def register_rows(
    connection: Connection,
    file: BinaryIO,
    name: str,
    kind: str,
    shared: dict[str, Any],
    job: str | None,
    out: str | None,
    bounds: Bounds,
) -> None:
    """Register the rows of a file.

    Raises:
        Problem: Not every row is registered.
    """
    config = None if bounds.dry_run else connection.config()
    try:
        with Results(out, is_read_only=bounds.dry_run) as results:
            _run(connection, config, results, file, name, kind, shared, job, out, bounds)
    except OSError as exc:
        raise Unsettled(f"{out}: {exc}.", _going_on(job, out)) from None


def _run(
    connection: Connection,
    config: HttpClientConfig | None,
    results: Results,
    file: BinaryIO,
    name: str,
    kind: str,
    shared: dict[str, Any],
    job: str | None,
    out: str | None,
    bounds: Bounds,
) -> None:
    if job is None and (results.ok or results.refused):
        raise WrongUsage(
            f"{out} has results already.",
            "Give the --job that they are of to go on, or another file.",
        )
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    tally = Tally(
        file, size, time.monotonic(), ok_before=results.ok, refused_before=results.refused
    )
    plain = unpacked(file)
    rows = read_csv(plain, name) if kind == "csv" else read_json_lines(plain)
    progress = _progress_for(connection, tally)
    run = Job(rows, RowCheck(shared, job), results, tally, progress, name)
    problem: Problem | None = None
    try:
        with progress:
            if config is None:
                run.dry_run(bounds.max_failures)
            else:
                asyncio.run(_register(run, config, shared, bounds))
    except Problem as exc:
        problem = exc
    except PrefactorClientError as exc:
        problem = Refused(f"{exc}.")
    except PrefactorHttpError as exc:
        problem = problem_of(exc, None)
    except (OSError, EOFError, zlib.error) as exc:
        problem = Unsettled(f"{name} or its results: {exc}.")
    if problem is None:
        problem = _ending(run, tally, out)
    _summarize(connection, tally, dry_run=bounds.dry_run)
    if problem is not None:
        if not problem.further and problem.exit_code != Refused.exit_code:
            problem.further = (_going_on(job, out),)
        raise problem


async def _register(
    run: Job, config: HttpClientConfig, shared: dict[str, Any], bounds: Bounds
) -> None:
    async with PrefactorHttpClient(config) as client:
        await run.run(client, shared, bounds)


def _progress_for(connection: Connection, tally: Tally) -> Progress:
    if connection.as_json:
        return Silence()
    console = Console(stderr=True)
    return Bar(tally, console) if console.is_terminal and sys.stderr.isatty() else Log(tally)


def _ending(run: Job, tally: Tally, out: str | None) -> Problem | None:
    if run.stopped is not None:
        return Unsettled(f"{run.stopped} before all rows were registered.")
    if tally.unknown:
        return Unsettled(f"{_rows(tally.unknown)} may be registered or not.")
    refused = tally.refused + tally.refused_before
    if not refused:
        return None
    before = f"{tally.refused_before:,} of them in runs before, and not sent again:"
    return Refused(
        f"{_rows(refused)} refused.",
        *(
            [f"{before} mend them, or remove their lines from {out}."]
            if tally.refused_before
            else []
        ),
    )


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _going_on(job: str | None, out: str | None) -> str:
    if job is None:
        return "Rows may be registered already; without --job another run doubles them."
    if out is None:
        return "Run the same command again: no row is registered twice."
    return "Run the same command again to go on."


def _summarize(connection: Connection, tally: Tally, *, dry_run: bool) -> None:
    if connection.as_json:
        echo_json(
            {
                "ok": tally.ok + tally.ok_before,
                "refused": tally.refused + tally.refused_before,
                "unknown": tally.unknown,
                "ok_before": tally.ok_before,
                "retried": tally.retried,
                "seconds": round(tally.seconds, 3),
                "dry_run": dry_run,
            }
        )
        return
    if dry_run:
        click.echo(f"{_rows(tally.ok)} to register, {tally.refused:,} that cannot be; sent none.")
        return
    before = f" ({tally.ok_before:,} before)" if tally.ok_before else ""
    click.echo(
        f"{_rows(tally.ok + tally.ok_before)} registered{before}, "
        f"{tally.refused + tally.refused_before:,} refused, {tally.unknown:,} unknown; "
        f"{tally.seconds:.1f} s, {tally.rate:,.0f} rows/s, {tally.retried:,} retried."
    )
