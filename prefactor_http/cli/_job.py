"""Registers the rows of a file, writes what became of each, and stops when asked to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, contextmanager, suppress
from types import FrameType
from typing import Any, cast

from msgspec import Struct

from prefactor_http import Outcome
from prefactor_http.cli._job_progress import Progress
from prefactor_http.cli._job_tally import Tally
from prefactor_http.cli._output import Refused
from prefactor_http.cli._results import Result, Results, refusal_text
from prefactor_http.cli._row_check import RowCheck
from prefactor_http.cli._rows import Row
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.exceptions import PrefactorClientError, is_transient_http_error

DRAIN_SECONDS = 5.0
_GRACE = 0.1
_MOST_TOLD = 20


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


class Job:
    """One run over the rows of a file.

    Args:
        rows: The rows.
        check: Checks them and gives them keys.
        results: What earlier runs did, and where this one writes.
        tally: Counts.
        progress: Who is told of rows that are not registered.
        name: What messages call the file.

    Attributes:
        stopped: What ended the run early; None where nothing did.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        check: RowCheck,
        results: Results,
        tally: Tally,
        progress: Progress,
        name: str,
    ) -> None:
        self.stopped: str | None = None
        self._rows = rows
        self._check = check
        self._results = results
        self._tally = tally
        self._progress = progress
        self._name = name
        self._under_way: dict[int, Row] = {}  # by position among the rows sent
        self._task: asyncio.Task[None]
        self._told = 0
        self._is_read = False

    def dry_run(self, max_failures: int | None) -> None:
        """Check the rows, and send none.

        Raises:
            Refused: That many cannot be sent.
            WrongUsage: The results are of other rows.
        """
        for row in self._left():
            if row.problem is None:
                self._tally.ok += 1
                continue
            self._refuse(row, row.problem)
            if self._tally.refused == max_failures:
                raise Refused(f"stopped after {max_failures} failures (max_failures).")

    async def run(
        self,
        client: PrefactorHttpClient,
        shared: dict[str, Any],
        bounds: Bounds,
    ) -> None:
        """Register the rows.

        Args:
            client: The client.
            shared: Fields that rows take where they lack them.
            bounds: How to run.

        Raises:
            PrefactorHttpError: The run ended early.
            Problem: The results are of other rows.
            OSError: The results cannot be written, or the file not be read.
        """
        instances = client.with_options(on_attempt=self._tally.note_attempt).agent_instances
        outcomes = instances.register_many(
            self._fields(),
            **shared,
            concurrency=bounds.concurrency,
            max_failures=bounds.max_failures,
            patience=bounds.patience,
        )
        self._task = asyncio.create_task(self._consume(outcomes))
        if bounds.deadline is not None:
            asyncio.get_running_loop().call_later(bounds.deadline, self._expire)
        with self._signals(), suppress(asyncio.CancelledError):  # only a stop of ours cancels it
            await self._task
        if self._is_read and not self._under_way:
            self.stopped = None  # too late to matter

    async def _consume(self, stream: AsyncGenerator[Outcome, None]) -> None:
        async with aclosing(stream) as outcomes:
            async for outcome in outcomes:
                self._settle(outcome)

    def _left(self) -> Generator[Row, None, None]:
        """Give the rows that no run before has done."""
        for row in self._rows:
            if self.stopped is not None:
                return
            key = self._check.prepare(row)
            is_done = self._results.has(row.index, key)
            self._tally.refused_before = self._results.refused  # fewer, where rows were mended
            if not is_done:
                yield row
        self._is_read = True

    def _fields(self) -> Generator[dict[str, Any], None, None]:
        for position, row in enumerate(self._left()):
            self._under_way[position] = row
            # A row with a problem goes along, to be refused in its turn and count as a failure.
            yield cast("dict[str, Any]", row.fields if row.problem is None else None)

    def _settle(self, outcome: Outcome) -> None:
        row = self._under_way.pop(outcome.index)
        key = outcome.idempotency_key
        if outcome.instance is not None:
            self._tally.ok += 1
            self._results.write(
                Result(index=row.index, idempotency_key=key, ok=True, id=outcome.instance.id)
            )
        elif outcome.unknown or _is_for_later(outcome.error):
            self._tally.unknown += 1
            error = refusal_text(outcome.error)
            self._results.write(
                Result(index=row.index, idempotency_key=key, ok=None, line=row.line, error=error)
            )
        elif not isinstance(outcome.error, PrefactorClientError):  # that is: the run ended before
            self._refuse(row, row.problem or refusal_text(outcome.error), key)

    def _refuse(self, row: Row, error: str, key: str | None = None) -> None:
        self._tally.refused += 1
        self._results.write(
            Result(index=row.index, idempotency_key=key, ok=False, line=row.line, error=error)
        )
        self._told += 1
        if self._told <= _MOST_TOLD:
            self._progress.say(f"{self._name}, line {row.line}: {error}")
        elif self._told == _MOST_TOLD + 1:
            self._progress.say("More rows are refused; the results have them all.")

    @contextmanager
    def _signals(self) -> Generator[None, None, None]:
        """Let a first signal end the run in order, and a second one at once."""
        loop = asyncio.get_running_loop()

        def on_signal(number: int, frame: FrameType | None) -> None:
            del number, frame
            first, self.stopped = self.stopped is None, self.stopped or "stopped"
            loop.call_soon_threadsafe(self._stop_soon if first else self._stop_now)

        # Not the loop's own, which wait for a pass of the loop: rows that are done are skipped
        # in one.
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)

    def _expire(self) -> None:
        self.stopped = self.stopped or "the deadline passed"
        self._stop_soon()

    def _stop_soon(self) -> None:
        self._progress.say("Stopping: what is under way may end. Once more stops at once.")
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._cancel)

    def _stop_now(self) -> None:
        self._cancel()
        # Cancelled once, the batch waits for requests in flight.
        asyncio.get_running_loop().call_later(_GRACE, self._cancel)

    def _cancel(self) -> None:
        self._task.cancel()


def _is_for_later(error: Exception | None) -> bool:
    """Tell whether a row was refused for the moment only."""
    return error is not None and is_transient_http_error(error)
