"""Registers many rows: puts the job together, and says how it ended."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import zlib
from typing import Any, BinaryIO

import click
from msgspec import Struct
from rich.console import Console

from prefactor_http._batch_options import StreamOptions
from prefactor_http.cli._api_call import Connection, problem_of
from prefactor_http.cli._job import Job
from prefactor_http.cli._job_progress import Bar, Log, Progress, Silence
from prefactor_http.cli._job_tally import Tally
from prefactor_http.cli._output import Problem, Refused, Unsettled, WrongUsage, echo_json
from prefactor_http.cli._results import Results
from prefactor_http.cli._row_check import RowCheck
from prefactor_http.cli._rows import read_csv, read_json_lines, unpacked
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError, PrefactorHttpError


class Bounds(Struct, frozen=True):
    """How a job runs.

    Attributes:
        concurrency: Most requests in flight.
        max_failures: Refused rows after which it stops.
        patience: Seconds that the API may be away.
        deadline: Seconds after which it stops.
        dry_run: Whether nothing is sent.
    """

    concurrency: int
    max_failures: int | None
    patience: float
    deadline: float | None
    dry_run: bool


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
    results = Results(out)
    end = results.read()
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
        if config is None:
            with progress:
                run.dry_run()
        else:
            with results.open(end), progress:
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
        problem = _ending(run, tally)
    _summarize(connection, tally, dry_run=bounds.dry_run)
    if problem is not None:
        if not problem.further and problem.exit_code != Refused.exit_code:
            problem.further = (_going_on(job, out),)
        raise problem


async def _register(
    run: Job, config: HttpClientConfig, shared: dict[str, Any], bounds: Bounds
) -> None:
    options = StreamOptions(
        concurrency=bounds.concurrency,
        max_failures=bounds.max_failures,
        patience=bounds.patience,
    )
    async with PrefactorHttpClient(config) as client:
        await run.run(client, shared, options, bounds.deadline)


def _progress_for(connection: Connection, tally: Tally) -> Progress:
    if connection.as_json:
        return Silence()
    console = Console(stderr=True)
    return Bar(tally, console) if console.is_terminal and sys.stderr.isatty() else Log(tally)


def _ending(run: Job, tally: Tally) -> Problem | None:
    if run.stopped is not None:
        return Unsettled(f"{run.stopped} before all rows were registered.")
    if tally.unknown:
        return Unsettled(f"{tally.unknown:,} rows may be registered or not.")
    refused = tally.refused + tally.refused_before
    return Refused(f"{refused:,} rows were refused.") if refused else None


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
        click.echo(f"{tally.ok:,} rows to register, {tally.refused:,} that cannot be; sent none.")
        return
    before = f" ({tally.ok_before:,} before)" if tally.ok_before else ""
    click.echo(
        f"{tally.ok + tally.ok_before:,} rows registered{before}, "
        f"{tally.refused + tally.refused_before:,} refused, {tally.unknown:,} unknown; "
        f"{tally.seconds:.1f} s, {tally.rate:,.0f} rows/s, {tally.retried:,} retried."
    )
