"""Registers the rows of a file, writes how each ended, and stops when asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Hashable
from contextlib import aclosing, suppress
from typing import Any, cast

from msgspec import UNSET, Struct

from prefactor_http import Outcome
from prefactor_http.cli.explanations import error_group, error_text
from prefactor_http.cli.register.duplicates import Duplicate, Duplicates
from prefactor_http.cli.register.results_file import Result, Results, ResultsError
from prefactor_http.cli.register.row_check import RowCheck
from prefactor_http.cli.register.row_report import Kind, RowReport
from prefactor_http.cli.register.rows import UNREADABLE, LostPosition, Row, Rows
from prefactor_http.cli.register.stats import Tally
from prefactor_http.cli.signals import Stopped, on_signals
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorHttpError,
    is_transient_http_error,
)

# Together well below the 10 seconds after which Docker and others kill.
DRAIN_SECONDS = 5.0
_GRACE = 0.2
_LONGEST_NAME = 80
_CUT = "the run was stopped before the API answered"


class Bounds(Struct, frozen=True):
    """How a job runs.

    Attributes:
        concurrency: Most requests in flight.
        max_failures: Refused rows after which it stops.
        max_outage: Seconds that the API may be away.
        deadline: Seconds after which it stops.
        dry_run: Whether nothing is sent.
    """

    concurrency: int
    max_failures: int | None
    max_outage: float
    deadline: float | None
    dry_run: bool


class Job:
    """One run over the rows of a file.

    Args:
        rows: The rows.
        check: Checks them and gives them keys.
        duplicates: Finds rows that repeat an earlier one.
        results: What earlier runs did, and where this one writes.
        tally: Counts.
        report: Reports rows that are not registered.
        keeps_keys: Whether keys that the rows were sent with can be found again.
        max_failures: Refused rows after which it stops.

    Attributes:
        signal: The signal that ended the run.
        has_expired: Whether its deadline did.
        has_failed: Whether as many rows were refused as may be.
        unreadable: Why the file could not be read to its end.
        lost_position: Why it is not known where its next row begins.
        lost_results: Why the results cannot be written.
        unwritten: Rows registered that the file of results does not have.
        error: What made the client end the run.
    """

    def __init__(
        self,
        rows: Rows,
        check: RowCheck,
        duplicates: Duplicates,
        results: Results,
        tally: Tally,
        report: RowReport,
        *,
        keeps_keys: bool,
        max_failures: int | None,
    ) -> None:
        self.signal: Stopped | None = None
        self.has_expired: bool = False
        self.has_failed: bool = False
        self.unreadable: str | None = None
        self.lost_position: str | None = None
        self.lost_results: str | None = None
        self.unwritten: int = 0
        self.error: PrefactorHttpError | None = None
        self._rows = rows
        self._check = check
        self._duplicates = duplicates
        self._results = results
        self._tally = tally
        self._report = report
        self._keeps_keys = keeps_keys
        self._max_failures = max_failures
        self._failures = 0
        self._pending: dict[int, Row] = {}  # by position among the rows sent
        self._is_read = False
        self._is_cut = False  # rows were not sent, or interrupted
        self._client: PrefactorHttpClient
        self._task: asyncio.Task[None]
        self._stopping: list[asyncio.Task[None]] = []

    @property
    def is_complete(self) -> bool:
        """Whether every row of the file has an outcome."""
        return self._is_read and not self._is_cut

    def dry_run(self) -> None:
        """Check the rows, and send none.

        Raises:
            WrongUsage: The results are of other rows.
        """
        for row in self._left():
            if row.problem is None:
                self._tally.ok += 1
                continue
            self._refuse(row, row.problem, row.kind)
            if self._count_failure():
                return

    async def run(
        self, client: PrefactorHttpClient, shared: dict[str, Any], bounds: Bounds
    ) -> None:
        """Register the rows.

        Args:
            client: The client.
            shared: Fields that rows take where they lack them.
            bounds: How to run.

        Raises:
            WrongUsage: The results are of other rows.
        """
        self._client = client
        loop = asyncio.get_running_loop()
        instances = client.with_options(on_attempt=self._tally.note_attempt).agent_instances
        outcomes = instances.register_many(
            self._fields(),
            **shared,
            concurrency=bounds.concurrency,
            max_failures=bounds.max_failures,
            max_outage=bounds.max_outage,
        )
        self._task = asyncio.create_task(self._consume(outcomes))
        if bounds.deadline is not None:
            loop.call_later(bounds.deadline, self._expire)
        # Not the loop's own handlers, which wait for a pass of the loop: rows that are done are
        # skipped in one.
        with on_signals(self._on_signal):
            # Cancelled by a stop alone.
            with suppress(asyncio.CancelledError):
                await self._task
            for task in self._stopping:
                task.cancel()
        for row in self._pending.values():
            self._is_cut = True
            if row.problem is None and row.fields is not None:
                self._note_unknown(row, row.fields["idempotency_key"], _CUT, None)

    async def _consume(self, stream: AsyncGenerator[Outcome, None]) -> None:
        async with aclosing(stream) as outcomes:
            try:
                async for outcome in outcomes:
                    self._settle(outcome)
            except PrefactorHttpError as error:
                # The client was closed because the run was stopped, or too many rows failed.
                if not (isinstance(error, PrefactorClientError) and self._is_ending):
                    self.error = error

    @property
    def _is_ending(self) -> bool:
        return (
            self.signal is not None
            or self.has_expired
            or self.has_failed
            or self.lost_results is not None
        )

    def _left(self) -> Generator[Row, None, None]:
        """Give the rows that no earlier run has done."""
        try:
            for row in self._rows:
                if self._is_ending:
                    return
                if self._is_left(row):
                    yield row
        except LostPosition as exc:
            self.lost_position = str(exc)
        except UNREADABLE as exc:
            self.unreadable = str(exc)
        else:
            self._is_read = True

    def _is_left(self, row: Row) -> bool:
        key = self._check.prepare(row)
        for warning in row.warnings:
            self._report.add(Kind.WARNING, row.line, warning)
        duplicate = self._duplicates.find(row) if row.problem is None else None
        if duplicate is not None:
            self._note_duplicate(row, key, duplicate)
        is_done = duplicate is not None or self._results.has(row.index, key)
        # Fewer, where the file was changed.
        self._tally.ok_before = self._results.ok
        self._tally.refused_before = self._results.refused
        return not is_done

    def _fields(self) -> Generator[dict[str, Any], None, None]:
        for position, row in enumerate(self._left()):
            self._pending[position] = row
            # A row with a problem goes along, to be refused in its turn and count as a failure.
            yield cast("dict[str, Any]", row.fields if row.problem is None else None)

    def _settle(self, outcome: Outcome) -> None:
        row = self._pending.pop(outcome.index)
        key, error = outcome.idempotency_key, outcome.error
        if outcome.ok:
            self._tally.ok += 1
            instance_id = UNSET if outcome.instance is None else outcome.instance.id
            self._write(Result(index=row.index, idempotency_key=key, ok=True, id=instance_id))
        elif row.problem is not None:
            # What comes after the last failure that is allowed was never looked at.
            if not self.has_failed:
                self._refuse(row, row.problem, row.kind)
                self._count_failure()
        elif outcome.unknown or _is_for_later(error):
            if isinstance(error, PrefactorClientError):  # interrupted: the client was closed
                self._is_cut = True
                self._note_unknown(row, key, _CUT, None)
            else:
                self._note_unknown(row, key, error_text(error), error_group(error))
            if outcome.failed:
                self._count_failure()
        elif isinstance(error, PrefactorClientError):
            self._is_cut = True  # not sent: the run ended before
        else:
            self._refuse(row, error_text(error), error_group(error), key)
            self._count_failure()

    def _count_failure(self) -> bool:
        self._failures += 1
        self.has_failed = self._failures == self._max_failures or self.has_failed
        return self.has_failed

    def _refuse(self, row: Row, reason: str, group: Hashable, key: str | None = None) -> None:
        self._tally.refused += 1
        self._report.add(Kind.REFUSED, row.line, reason, group)
        self._write(
            Result(index=row.index, idempotency_key=key, ok=False, line=row.line, error=reason)
        )

    def _note_unknown(self, row: Row, key: str | None, reason: str, group: Hashable) -> None:
        self._tally.unknown += 1
        self._report.add(Kind.UNKNOWN, row.line, f"may be registered: {reason}", group)
        if key is not None and not self._keeps_keys:
            self._report.add_key(row.line, key)
        self._write(
            Result(index=row.index, idempotency_key=key, ok=None, line=row.line, error=reason)
        )

    def _note_duplicate(self, row: Row, key: str | None, duplicate: Duplicate) -> None:
        self._tally.duplicates += 1
        name = duplicate.value
        if len(name) > _LONGEST_NAME:
            name = f"{name[:_LONGEST_NAME]}…"
        reason = f"duplicate of line {duplicate.line}: same {duplicate.field} {name!r}"
        if not duplicate.is_same:
            self._tally.changed_duplicates += 1
            reason += ", but other content, which is not registered"
        self._report.add(Kind.DUPLICATE, row.line, reason, duplicate.is_same)
        if not self._results.has_duplicate(row.index):
            self._write(
                Result(
                    index=row.index,
                    idempotency_key=key,
                    ok=False,
                    line=row.line,
                    error=reason,
                    duplicate_of=duplicate.index,
                )
            )

    def _write(self, result: Result) -> None:
        if self.lost_results is None:
            try:
                self._results.write(result)
            except ResultsError as exc:
                self.lost_results = str(exc)
                self._stop(DRAIN_SECONDS)
        if self.lost_results is not None and result.ok:
            self.unwritten += 1

    def _on_signal(self, signum: int) -> None:
        """Let a first signal end the run in order, and a second one at once."""
        is_first = self.signal is None
        self.signal = self.signal or Stopped(signum)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(self._stop, DRAIN_SECONDS if is_first else 0.0)

    def _expire(self) -> None:
        self.has_expired = True
        self._stop(DRAIN_SECONDS)

    def _stop(self, drain: float) -> None:
        self._stopping.append(asyncio.create_task(self._close_client(drain)))

    async def _close_client(self, drain: float) -> None:
        """Send nothing more, and let requests in flight be answered for a while.

        Closing the client makes the batch end by itself, with an outcome for each of its rows.
        Where it waits for something else, it is cancelled.
        """
        if drain:
            self._report.say(
                f"Stopping: requests in flight have {drain:g} seconds to be answered. "
                "Press Ctrl-C again to stop immediately."
            )
        await self._client.close(drain_timeout=drain)
        await asyncio.sleep(_GRACE)
        self._task.cancel()


def _is_for_later(error: Exception | None) -> bool:
    """Tell whether a row was refused for the moment only."""
    return error is not None and is_transient_http_error(error)
