"""Registers the rows of a file, records the outcome of each, and stops on a signal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextlib import aclosing, suppress
from typing import Any, cast

from msgspec import UNSET

from prefactor_http import Attempt, Outcome
from prefactor_http.cli.error_messages import error_group, error_text
from prefactor_http.cli.register.duplicates import DuplicateCheck, DuplicateRow
from prefactor_http.cli.register.job_request import JobOptions
from prefactor_http.cli.register.results_file import Result, ResultsError, ResultsFile
from prefactor_http.cli.register.row_issues import IssueKind, RowIssues
from prefactor_http.cli.register.row_reader import UNREADABLE, Row, RowBoundaryError, Rows
from prefactor_http.cli.register.row_validator import RowValidator
from prefactor_http.cli.register.stats import JobStats
from prefactor_http.cli.signals import Stopped, on_signals
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.exceptions import (
    PrefactorClientError,
    PrefactorHttpError,
    is_transient_http_error,
)

# Together well below the 10 seconds after which Docker kills a container.
DRAIN_SECONDS = 5.0
_GRACE = 0.2
_MAX_NAME_LENGTH = 80
_STOPPED = "the run was stopped before the API answered"


class Job:
    """One run over the rows of a file.

    Args:
        rows: The rows.
        validator: Checks them and adds their keys.
        duplicates: Finds rows that repeat the name of an earlier row.
        results: The results of earlier runs; this run adds its own.
        stats: The counts.
        issues: Reports rows that are not registered.
        keys_are_known: Whether the next run can find out the keys that rows were sent with.
        max_failures: Number of failed rows after which the job stops; None for no limit.

    Attributes:
        signal: The signal that stopped the run.
        deadline_passed: Whether the run stopped at its deadline.
        has_too_many_failures: Whether the run stopped at `max_failures`.
        read_error: Why the file could not be read to its end.
        boundary_error: Why the start of the next row is not known.
        results_error: Why the results cannot be written.
        unwritten: Number of registered rows that are missing in the results file.
        error: The client's error that ended the run.
    """

    def __init__(
        self,
        rows: Rows,
        validator: RowValidator,
        duplicates: DuplicateCheck,
        results: ResultsFile,
        stats: JobStats,
        issues: RowIssues,
        *,
        keys_are_known: bool,
        max_failures: int | None,
    ) -> None:
        self.signal: Stopped | None = None
        self.deadline_passed: bool = False
        self.has_too_many_failures: bool = False
        self.read_error: str | None = None
        self.boundary_error: str | None = None
        self.results_error: str | None = None
        self.unwritten: int = 0
        self.error: PrefactorHttpError | None = None
        self._rows = rows
        self._validator = validator
        self._duplicates = duplicates
        self._results = results
        self._stats = stats
        self._issues = issues
        self._keys_are_known = keys_are_known
        self._max_failures = max_failures
        self._failures = 0
        self._pending: dict[int, Row] = {}  # by position among the rows given to the client
        self._is_read = False
        self._is_incomplete = False  # rows were not sent, or got no response
        self._on_attempt: Callable[[Attempt], object] | None = None
        self._client: PrefactorHttpClient
        self._task: asyncio.Task[None]
        self._stopping: list[asyncio.Task[None]] = []

    @property
    def is_complete(self) -> bool:
        """Whether every row of the file has an outcome."""
        return self._is_read and not self._is_incomplete

    def dry_run(self) -> None:
        """Check the rows and send nothing.

        Raises:
            InputError: The results file belongs to other rows.
        """
        for row in self._remaining_rows():
            if row.error is None:
                self._stats.ok += 1
                continue
            self._record_refused(row, row.error, row.error_group)
            if self._count_failure():
                return

    async def run(
        self,
        client: PrefactorHttpClient,
        shared: dict[str, Any],
        options: JobOptions,
        on_attempt: Callable[[Attempt], object] | None = None,
    ) -> None:
        """Register the rows.

        Args:
            client: The client.
            shared: Fields that a row takes if it lacks them.
            options: How to run.
            on_attempt: Called with each attempt, after it is counted.

        Raises:
            InputError: The results file belongs to other rows.
        """
        self._client = client
        loop = asyncio.get_running_loop()
        self._on_attempt = on_attempt
        instances = client.with_options(on_attempt=self._record_attempt).agent_instances
        outcomes = instances.register_many(
            self._fields_to_send(),
            **shared,
            concurrency=options.concurrency,
            max_failures=options.max_failures,
            max_outage=options.max_outage,
        )
        self._task = asyncio.create_task(self._consume(outcomes))
        if options.deadline is not None:
            loop.call_later(options.deadline, self._expire)
        # The loop's own signal handlers would wait while it skips the rows of earlier runs.
        with on_signals(self._on_signal):
            # Only `_close_client` cancels it.
            with suppress(asyncio.CancelledError):
                await self._task
            for task in self._stopping:
                task.cancel()
        for row in self._pending.values():
            self._is_incomplete = True
            if row.error is None and row.fields is not None:
                self._record_unknown(row, row.fields["idempotency_key"], _STOPPED, None)

    def _record_attempt(self, attempt: Attempt) -> None:
        self._stats.record_attempt(attempt)
        if self._on_attempt is not None:
            self._on_attempt(attempt)

    async def _consume(self, stream: AsyncGenerator[Outcome, None]) -> None:
        async with aclosing(stream) as outcomes:
            try:
                async for outcome in outcomes:
                    self._record(outcome)
            except PrefactorHttpError as error:
                # A client error is expected if the run was stopped: the client was closed.
                if not (isinstance(error, PrefactorClientError) and self._is_stopping):
                    self.error = error

    @property
    def _is_stopping(self) -> bool:
        return (
            self.signal is not None
            or self.deadline_passed
            or self.has_too_many_failures
            or self.results_error is not None
        )

    def _remaining_rows(self) -> Generator[Row, None, None]:
        """Yield the rows that no earlier run has finished."""
        try:
            for row in self._rows:
                if self._is_stopping:
                    return
                if self._is_remaining(row):
                    yield row
        except RowBoundaryError as exc:
            self.boundary_error = str(exc)
        except UNREADABLE as exc:
            self.read_error = str(exc)
        else:
            self._is_read = True

    def _is_remaining(self, row: Row) -> bool:
        key, content = self._validator.prepare(row)
        for warning in row.warnings:
            self._issues.add(IssueKind.WARNING, row.line, warning)
        duplicate = self._duplicates.find(row, content) if row.error is None else None
        if duplicate is not None:
            self._record_duplicate(row, key, duplicate)
        is_done = duplicate is not None or self._results.is_finished(row.index, key)
        # They decrease if the file has changed since.
        self._stats.ok_before = self._results.ok
        self._stats.refused_before = self._results.refused
        return not is_done

    def _fields_to_send(self) -> Generator[dict[str, Any], None, None]:
        for position, row in enumerate(self._remaining_rows()):
            self._pending[position] = row
            # The client rejects None, so that an invalid row fails in order and is counted.
            yield cast("dict[str, Any]", row.fields if row.error is None else None)

    def _record(self, outcome: Outcome) -> None:
        row = self._pending.pop(outcome.index)
        key, error = outcome.idempotency_key, outcome.error
        if outcome.ok:
            self._stats.ok += 1
            instance_id = UNSET if outcome.instance is None else outcome.instance.id
            self._write(Result(index=row.index, idempotency_key=key, ok=True, id=instance_id))
        elif row.error is not None:
            # Rows after the last allowed failure are not part of this run.
            if not self.has_too_many_failures:
                self._record_refused(row, row.error, row.error_group)
                self._count_failure()
        elif outcome.unknown or _is_transient(error):
            if isinstance(error, PrefactorClientError):  # the run was stopped, the client closed
                self._is_incomplete = True
                self._record_unknown(row, key, _STOPPED, None)
            else:
                self._record_unknown(row, key, error_text(error), error_group(error))
            if outcome.failed:
                self._count_failure()
        elif isinstance(error, PrefactorClientError):
            self._is_incomplete = True  # never sent
        else:
            self._record_refused(row, error_text(error), error_group(error), key)
            self._count_failure()

    def _count_failure(self) -> bool:
        self._failures += 1
        self.has_too_many_failures = (
            self._failures == self._max_failures or self.has_too_many_failures
        )
        return self.has_too_many_failures

    def _record_refused(
        self, row: Row, reason: str, group: Hashable, key: str | None = None
    ) -> None:
        self._stats.refused += 1
        self._issues.add(IssueKind.REFUSED, row.line, reason, group)
        self._write(
            Result(index=row.index, idempotency_key=key, ok=False, line=row.line, error=reason)
        )

    def _record_unknown(self, row: Row, key: str | None, reason: str, group: Hashable) -> None:
        self._stats.unknown += 1
        self._issues.add(IssueKind.UNKNOWN, row.line, f"may be registered: {reason}", group)
        if key is not None and not self._keys_are_known:
            self._issues.add_key(row.line, key)
        self._write(
            Result(index=row.index, idempotency_key=key, ok=None, line=row.line, error=reason)
        )

    def _record_duplicate(self, row: Row, key: str | None, duplicate: DuplicateRow) -> None:
        self._stats.duplicates += 1
        name = duplicate.value
        if len(name) > _MAX_NAME_LENGTH:
            name = f"{name[:_MAX_NAME_LENGTH]}…"
        reason = f"duplicate of line {duplicate.line}: same {duplicate.field} {name!r}"
        if not duplicate.is_same:
            self._stats.changed_duplicates += 1
            reason += ", but different content; this row is not registered"
        self._issues.add(IssueKind.DUPLICATE, row.line, reason, duplicate.is_same)
        if not self._results.is_known_duplicate(row.index):
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
        if self.results_error is None:
            try:
                self._results.write(result)
            except ResultsError as exc:
                self.results_error = str(exc)
                self._stop(DRAIN_SECONDS)
        if self.results_error is not None and result.ok:
            self.unwritten += 1

    def _on_signal(self, signum: int) -> None:
        """Stop: on the first signal after draining, on the second immediately."""
        is_first = self.signal is None
        self.signal = self.signal or Stopped(signum)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(self._stop, DRAIN_SECONDS if is_first else 0.0)

    def _expire(self) -> None:
        self.deadline_passed = True
        self._stop(DRAIN_SECONDS)

    def _stop(self, drain: float) -> None:
        self._stopping.append(asyncio.create_task(self._close_client(drain)))

    async def _close_client(self, drain: float) -> None:
        """Send nothing more and wait for the responses to requests in flight.

        Closing the client ends the batch, with an outcome for each of its rows. If the batch waits
        for something else, it is cancelled.
        """
        if drain:
            self._issues.say(
                f"Stopping: waiting up to {drain:g} seconds for responses. "
                "Press Ctrl-C again to stop immediately."
            )
        await self._client.close(drain_timeout=drain)
        await asyncio.sleep(_GRACE)
        self._task.cancel()


def _is_transient(error: Exception | None) -> bool:
    """Return whether a row failed for a reason that may pass."""
    return error is not None and is_transient_http_error(error)
