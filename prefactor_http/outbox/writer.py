"""Runs the transactions of an outbox in a thread, and lets concurrent writes share one.

Writes are collected while a transaction is in progress, at least for one iteration of the event
loop. The next transaction then contains all of them (group commit).

SQLite appends transactions to a log, which has to be copied into the database from time to time.
The thread does that when it is idle. Otherwise a transaction would, and its writes would wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Concatenate, ParamSpec, TypeVar

from msgspec import Struct

from prefactor_http._http.reporting import LOG
from prefactor_http.outbox.database import Commit, Database
from prefactor_http.outbox.errors import OutboxError
from prefactor_http.outbox.options import OutboxOptions
from prefactor_http.outbox.receipt import Receipt, Receipts
from prefactor_http.outbox.rows import NewWrite, PendingWrite

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_RETRY_SECONDS = 0.5
_IDLE_SECONDS = 0.002  # more than between two writes of a busy loop


class Recording(Struct, eq=False):
    """A write on its way into the file.

    Attributes:
        write: The write.
        receipt: Its receipt.
        result: What the call that records it returns.
        recorded: Receives the result, when the write is in the file.
    """

    write: NewWrite
    receipt: Receipt[Any]
    result: Any
    recorded: asyncio.Future[Any]


class Writer:
    """The thread of an outbox.

    Args:
        path: The file.
        options: Durability and limits.
        receipts: Receives the receipts of recorded writes.
        on_commit: Called after each transaction that records or deletes writes.

    Attributes:
        receipts: The receipts.
        deleting: Sequences of delivered writes that are still in the file.
    """

    def __init__(
        self,
        path: Path,
        options: OutboxOptions,
        receipts: Receipts,
        on_commit: Callable[[Commit], object],
    ) -> None:
        self._path = path
        self._options = options
        self.receipts = receipts
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"outbox {path.name}", daemon=True)
        self._database: Database | None = None
        self._recordings: list[Recording] = []
        self._delivered: list[PendingWrite] = []
        self._undeleted: list[PendingWrite] = []
        self.deleting: set[int] = set()
        self._is_busy = self._is_scheduled = False
        self._is_full = self._is_refusing = self._is_failing = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Start the thread and open the file.

        Raises:
            OutboxFileError: The file cannot be used.
        """
        self._thread.start()
        try:
            self._database = await self._submit(Database, self._path, self._options)
        except BaseException:
            self._jobs.put(None)
            raise

    async def close(self) -> None:
        """Finish the transactions that were requested, and close the file."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._is_busy or self._is_scheduled:
            await self._submit(_nothing)
        for recording in self._recordings:
            _set_exception(recording.recorded, OutboxError("the outbox was closed"))
        await self.run(Database.close)
        self._jobs.put(None)

    def record(self, write: NewWrite, receipt: Receipt[Any], result: T) -> asyncio.Future[T]:
        """Record a write in the next transaction."""
        recorded: asyncio.Future[T] = self._loop.create_future()
        self._recordings.append(Recording(write, receipt, result, recorded))
        if not self._is_full:
            self._schedule()
        return recorded

    def delete(self, delivered: list[PendingWrite]) -> None:
        """Delete delivered writes in the next transaction."""
        self.deleting.update([row.sequence for row in delivered])
        self._delivered += delivered
        self._is_full = False
        self._schedule()

    def run(
        self, method: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run a method of the database in the thread."""
        assert self._database is not None  # noqa: S101 # opened before
        return self._submit(method, self._database, *args, **kwargs)

    def _submit(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self._loop.create_future()

        def job() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 # raised where the result is awaited
                self._post(_set_exception, done, exc)
            else:
                self._post(_set_result, done, result)

        self._jobs.put(job)
        return done

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            job()

    def _next_job(self) -> Callable[[], None] | None:
        database = self._database
        if database is not None and database.has_long_log:
            with suppress(Empty):
                return self._jobs.get(timeout=_IDLE_SECONDS)
            database.checkpoint()
        return self._jobs.get()

    def _post(
        self, callback: Callable[[asyncio.Future[T], R], None], done: asyncio.Future[T], result: R
    ) -> None:
        with suppress(RuntimeError):  # the loop was closed without closing the outbox
            self._loop.call_soon_threadsafe(callback, done, result)

    # Transactions

    def _schedule(self) -> None:
        if not self._is_scheduled and not self._is_busy:
            self._is_scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_scheduled = False
        recordings = [each for each in self._recordings if not each.recorded.cancelled()]
        self._recordings = []
        delivered, self._delivered = self._delivered, []
        if not recordings and not delivered:
            return
        self._is_busy = True
        writes = [recording.write for recording in recordings]
        commit = self.run(Database.commit, writes, delivered)
        commit.add_done_callback(partial(self._on_done, recordings, delivered))

    def _on_done(
        self,
        recordings: list[Recording],
        delivered: list[PendingWrite],
        done: asyncio.Future[Commit],
    ) -> None:
        self._is_busy = False
        error = done.exception()
        if error is None:
            self.deleting.difference_update([row.sequence for row in delivered])
            self._on_success(recordings, done.result())
        else:
            self._on_failure(recordings, delivered, error)
        if self._delivered or (self._recordings and not self._is_full):
            self._schedule()

    def _on_success(self, recordings: list[Recording], commit: Commit) -> None:
        if self._is_failing:
            self._is_failing = False
            LOG.info("the outbox %s can be written again", self._path)
        self._report_full(commit)
        receipts = self.receipts
        for recording, sequence in zip(recordings, commit.sequences, strict=False):
            recorded = recording.recorded
            if isinstance(sequence, int):
                receipt = recording.receipt
                receipt.sequence = sequence
                receipts.add(receipt)
                _set_result(recorded, recording.result)
            else:
                _set_exception(recorded, sequence)
        waiting = recordings[len(commit.sequences) :]
        if waiting:
            self._recordings = [*waiting, *self._recordings]
            self._wait_for_room()
        self._on_commit(commit)

    def _report_full(self, commit: Commit) -> None:
        """Log the first refusal, and that there is room again."""
        refused = next((each for each in commit.sequences if type(each) is not int), None)
        if refused is not None and not self._is_refusing:
            LOG.error("a write was not recorded: %s", refused)
        if commit.sequences:
            self._is_refusing = refused is not None

    def _wait_for_room(self) -> None:
        """Try again when this process has delivered something, or another one may have."""
        self._is_full = True
        self._retry_later()

    def _on_failure(
        self,
        recordings: list[Recording],
        delivered: list[PendingWrite],
        error: BaseException,
    ) -> None:
        if not self._is_failing:
            self._is_failing = True
            LOG.error("nothing can be recorded: %s", error)
        for recording in recordings:
            _set_exception(recording.recorded, _copy(error))
        if delivered:
            # They stay in the file until they can be deleted.
            self._undeleted += delivered
            self._retry_later()

    def _retry_later(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(_RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._is_full = False
        undeleted, self._undeleted = self._undeleted, []
        self._delivered += undeleted
        self._schedule()


def _nothing() -> None:
    """Wait for the jobs before."""


def _copy(error: BaseException) -> BaseException:
    """Copy an error that several calls raise, so that each has its own traceback."""
    own = copy(error)
    own.__cause__ = error.__cause__
    return own


def _set_result(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _set_exception(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
