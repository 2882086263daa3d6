"""``prefactor-http outbox drain``: the pending writes are delivered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from prefactor_http import Attempt, PrefactorHttpClient
from prefactor_http.cli.attempt_log import without_class
from prefactor_http.cli.connection import Connection, api_options
from prefactor_http.cli.durations import duration
from prefactor_http.cli.error_messages import Advice, command_error, error_text
from prefactor_http.cli.errors import (
    CommandError,
    InputError,
    RefusedError,
    RetryLaterError,
    StoppedError,
)
from prefactor_http.cli.outbox.drain_stats import DrainStats
from prefactor_http.cli.outbox.file import file_argument, next_command, opened
from prefactor_http.cli.output import Output
from prefactor_http.cli.parameter_types import Seconds
from prefactor_http.cli.progress import Progress, progress_for
from prefactor_http.cli.signals import Stopped, run_until_stopped
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorApiError, PrefactorAuthError
from prefactor_http.outbox import Outbox
from prefactor_http.outbox.database import Database

_MAX_OUTAGE = 300.0
_INTERVAL = 0.1  # seconds between two looks at the counters
_STILL_THERE = "The writes are still in the outbox: run the command again."


@click.command(short_help="Deliver the pending writes.")
@file_argument
@click.option(
    "--max-outage",
    type=Seconds(),
    default=_MAX_OUTAGE,
    metavar="SECONDS",
    help=f"How long to wait for an API that is down.  [default: {_MAX_OUTAGE:g}]",
)
@api_options
def drain(connection: Connection, path: Path, max_outage: float) -> None:
    """Deliver what is pending in the outbox FILE, and wait for it.

    Writes that are recorded meanwhile may be delivered, but are not waited for. If another process
    delivers FILE, the command waits for that process. It can be stopped at any time: what is not
    delivered stays in FILE. The exit code is 1 if a write was not delivered because the API refused
    it, and 3 if writes are still pending.
    """
    output = connection.output
    with opened(path) as database:
        host, _ = database.describe()
        if database.has_encoded_bodies():
            raise InputError(
                "the writes in the outbox are encoded, for example encrypted.",
                "Deliver them with the program that has recorded them; nothing was sent.",
            )
        config = connection.config()
        if host not in {None, config.api_url.rstrip("/")}:
            raise InputError(
                f"the outbox belongs to {host}, not to {connection.url}.",
                f"Set PREFACTOR_API_URL or --api-url to {host}; nothing was sent.",
            )
        before = database.stats(time.time())
        stats = DrainStats(before, before, started=time.monotonic())
        progress = progress_for(output, stats)
        if connection.attempt_log is not None:
            connection.attempt_log.say = progress.say  # above the bar
        output.has_sent = True
        drained = _Drain(config, path, database, stats, progress, connection.deadline, max_outage)
        error: CommandError | None = None
        try:
            with progress:
                error = run_until_stopped(drained.run)
        except Stopped as stopped:
            error = StoppedError(stopped, f"interrupted by {stopped.name}.", _STILL_THERE)
    _report(output, stats)
    _raise_problem(stats, path, error)


def _raise_problem(stats: DrainStats, path: Path, error: CommandError | None) -> None:
    """Raise the error that ended a drain, or one if writes were not delivered."""
    if error is not None:
        raise error
    if stats.dead:
        what = "1 write was" if stats.dead == 1 else f"{stats.dead:,} writes were"
        raise RefusedError(
            f"{what} not delivered.",
            f"To see the reasons, run: {next_command('dead', path)}",
        )


def _report(output: Output, stats: DrainStats) -> None:
    seconds = stats.seconds
    output.show(
        [f"{stats.counts()}; {seconds:.1f} s."],
        {
            "delivered": stats.delivered,
            "dead": stats.dead,
            "pending": stats.now.pending,
            "retried": stats.retried,
            "seconds": round(seconds, 3),
        },
    )


class _Drain:
    """One run of the command."""

    def __init__(
        self,
        config: HttpClientConfig,
        path: Path,
        database: Database,
        stats: DrainStats,
        progress: Progress,
        deadline: float | None,
        max_outage: float,
    ) -> None:
        self._config = config
        self._path = path
        self._database = database
        self._stats = stats
        self._progress = progress
        self._deadline = deadline
        self._max_outage = max_outage
        self._last_error = ""

    async def run(self) -> CommandError | None:
        """Deliver, and return why not everything is delivered; None if everything is."""
        async with PrefactorHttpClient(self._config) as client:
            watched = client.with_options(on_attempt=self._record_attempt)
            # Whether a write is given up is for the program to decide, not for this command.
            outbox = Outbox(self._path, watched, max_age=None)
            await outbox.open()
            try:
                return await self._wait(outbox)
            finally:
                await outbox.close(drain_timeout=0)
                self._stats.now = self._database.stats(time.time())

    async def _wait(self, outbox: Outbox) -> CommandError | None:
        last = self._database.last_sequence()
        has_said = False
        while self._database.has_pending(last):
            await asyncio.sleep(_INTERVAL)
            self._stats.now = self._database.stats(time.time())
            problem = self._problem(outbox)
            if problem is not None:
                return problem
            if not outbox.is_forwarding and not has_said:
                has_said = True
                self._progress.say("Another process delivers this outbox: waiting for it.")
        return None

    def _problem(self, outbox: Outbox) -> CommandError | None:
        stats = self._stats
        reason = outbox.pause_reason
        if isinstance(reason, PrefactorAuthError):
            return command_error(reason, Advice())
        if isinstance(reason, PrefactorApiError):
            return RefusedError(
                f"delivery has stopped, because the API refuses every write: {error_text(reason)}",
                f"Correct the cause. {_STILL_THERE}",
            )
        if reason is not None:
            return RetryLaterError(f"{error_text(reason)}.", _STILL_THERE)
        down = stats.seconds_down
        if down is not None and down >= self._max_outage:
            return RetryLaterError(
                f"the API has been down for {duration(down)}.",
                f"The last attempt: {self._last_error}",
                _STILL_THERE,
            )
        if self._deadline is not None and stats.seconds >= self._deadline:
            return RetryLaterError(
                f"not everything was delivered within {duration(self._deadline)} (--deadline).",
                _STILL_THERE,
            )
        return None

    def _record_attempt(self, attempt: Attempt) -> None:
        self._stats.record_attempt(attempt)
        if attempt.error is not None:
            self._last_error = without_class(attempt.error)
        if self._config.on_attempt is not None:
            self._config.on_attempt(attempt)
