"""Delivers the writes of an outbox through the bulk engine.

The file is the queue. The forwarder reads rows in order and gives them to a `BatchEngine`; a row
leaves the file when its outcome is known. The rows of an instance are a group of the engine, so
they are delivered in order, and instances in parallel.

A write that is not delivered *parks* its instance: the engine returns the later rows of the
instance unsent, and they are read from the file again when the instance is due. By then the write
is a dead letter, or it is sent again. A parked instance does not occupy memory, however many rows
it has, and does not delay other instances.

A row that may have been sent before is *in doubt*: it was in the file when this process took over,
or an earlier delivery ended with an unknown outcome. The API may have dropped its key since. It is
sent again with its key. If it is then refused, the resource is read before the refusal counts. Only
`record_quality` is never refused for having been applied. It is compared with what is recorded
before it is sent again, unless this process has sent it within the last hour.

Delivery *pauses* when no write can be delivered: the token is not accepted, or one refusal after
the other is the same. A pause ends the engine's run and logs one error. All rows stay in the file.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from prefactor_http import _api
from prefactor_http._bulk.batch_item import BatchItem, ItemHistory
from prefactor_http._bulk.engine import BatchEngine
from prefactor_http._bulk.operation import BatchOperation
from prefactor_http._bulk.options import BatchOptions
from prefactor_http._bulk.outcome import Outcome, State
from prefactor_http._bulk.output import encode_success, resource_of
from prefactor_http._http.backoff import backoff
from prefactor_http._http.codec import describe
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Applied, Operation
from prefactor_http._http.reconciliation import (
    INVALID_ACTION,
    reconcile,
    was_quality_recorded,
)
from prefactor_http._http.reporting import LOG
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorClientError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    is_transient_http_error,
)
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.outbox.database import CREATE_SPAN, FINISH_SPAN, Database, Page
from prefactor_http.outbox.errors import DROPPED, OutboxDroppedError, OutboxStorageError
from prefactor_http.outbox.lock import ForwarderLock
from prefactor_http.outbox.options import OutboxOptions
from prefactor_http.outbox.rows import DeadLetter, DeadState, PendingWrite
from prefactor_http.outbox.writer import Writer

DELIVER = BatchOperation("outbox.deliver", "POST", "/bulk")

_FINISHES = frozenset({"agent_instances/finish", FINISH_SPAN})
_LOAD_SECONDS = 0.01  # rows that are recorded within this time are read together
_MAX_BYTES_IN_ENGINE = 8_000_000
_MAX_ROWS_IN_OUTAGE = 20  # enough to tell a poison item from an outage
_ROWS_OF_PARKED = 100
_KEY_SECONDS = 3600.0  # the API remembers a key for longer than this
_MAX_SAME_REFUSALS = 20
_MAX_DOUBTFUL_TRIES = 5  # of a refused write that seems not to be applied
_FIRST_PAUSE, _MAX_PAUSE = 1.0, 60.0
_MAX_BACKOFF = 60.0
_TOO_LARGE, _SERVER_ERROR = 413, 500
_DEAD_STATES = {
    "refused": "refused",
    "blocked": "not sent",
    "unknown": "sent without a definite answer",
}
_NOT_NEEDED = object()


class Group(Struct, eq=False):
    """The rows of an instance that the engine has; their group in the engine.

    Attributes:
        instance: The instance.
        in_engine: How many of its rows the engine has.
        due_at: When its rows are read from the file again; None while it is not parked.
    """

    instance: str
    in_engine: int = 0
    due_at: float | None = None


class Forwarder:
    """Delivers the writes of one outbox, whenever this process holds the lock.

    Args:
        executor: Sends the requests.
        writer: Reads and changes the file.
        lock: The lock of the file.
        options: Options of the outbox.
    """

    def __init__(
        self, executor: Executor, writer: Writer, lock: ForwarderLock, options: OutboxOptions
    ) -> None:
        self._executor = executor.with_options(deadline=None)
        self._writer = writer
        self._receipts = writer.receipts
        self._lock = lock
        self._options = options
        self._clock = executor.clock
        self._batch_options = BatchOptions(
            chunk_size=options.chunk_size,
            concurrency=options.concurrency,
            max_outage=math.inf,
            max_same_refusals=None,
        )
        self._window = (options.concurrency + 1) * options.chunk_size
        self._wakeup = asyncio.get_running_loop().create_future()
        self._is_closing = False
        self._task: asyncio.Task[None]
        self.is_forwarding: bool = False
        self._engine = self._new_engine()
        # State of the delivery, from when the lock was taken.
        self._rows: dict[int, PendingWrite] = {}
        self._groups: dict[str, Group] = {}
        self._parked: dict[str, Group] = {}
        self._doubtful: set[int] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._taken_over = 0
        self._loaded = 0
        self._has_more = True
        self._load_at = self._polled_at = 0.0
        self._bytes_in_engine = 0
        self._pause_error: Exception | None = None
        self._paused_for = 0.0
        self._pause_reason: Exception | None = None
        self._last_refusal: tuple[object, ...] | None = None
        self._same_refusals = 0

    def start(self) -> None:
        """Start the task that delivers, if this process gets the lock."""
        self._task = asyncio.create_task(self._run())

    def notify(self) -> None:
        """Note that there are new rows."""
        if not self._has_more:
            self._has_more = True
            self._wake()

    async def close(self) -> None:
        """Stop delivering. Writes that are not delivered stay in the file."""
        self._is_closing = True
        self._wake()
        await self._task
        self._lock.release()

    @property
    def pause_reason(self) -> Exception | None:
        """Why delivery is paused, or None."""
        return self._pause_reason

    # The task

    async def _run(self) -> None:
        while not self._is_closing:
            try:
                if not self.is_forwarding:
                    await self._take_over()
                if self.is_forwarding:
                    await self._step()
                else:
                    await self._resolve_elsewhere()
                    await self._wait_until(self._now + self._options.poll_interval)
            except OutboxStorageError as exc:
                await self._pause(exc)
            except Exception as exc:  # noqa: BLE001 # delivery must go on
                LOG.exception("the outbox could not deliver")
                await self._pause(exc)
        await self._end_run(PrefactorClientError("the outbox was closed"))

    @property
    def _now(self) -> float:
        return self._clock.monotonic()

    @property
    def _unix_time(self) -> float:
        return self._clock.utcnow().timestamp()

    async def _take_over(self) -> None:
        if self._lock.acquire():
            self._taken_over = await self._writer.run(Database.start_delivery, self._unix_time)
            self.is_forwarding = True
            self._new_run()
            await self._resolve_elsewhere()

    async def _resolve_elsewhere(self) -> None:
        """Resolve the receipts of writes that another process has delivered."""
        awaited = self._receipts.awaited
        if awaited:
            resolved = await self._writer.run(Database.resolved, awaited)
            for sequence, letter in resolved.items():
                self._receipts.resolve(sequence, None if letter is None else letter.exception)

    async def _step(self) -> None:
        """Read and send rows, then wait for an event."""
        engine = self._engine
        if self._pause_error is not None:
            await self._pause(self._pause_error)
            return
        await self._load_parked()
        await self._load()
        engine.advance(flush=not self._has_more)
        await self._wait_until(self._wakeup_time(), *engine.tasks)
        engine.process_completed()
        if engine.fatal_error is not None:
            await self._pause(engine.fatal_error)

    def _wakeup_time(self) -> float:
        times = [self._polled_at + self._options.poll_interval]
        times += [group.due_at or 0.0 for group in self._parked.values() if not group.in_engine]
        if self._has_more and self._room:
            times.append(self._load_at)
        due = self._engine.wakeup_time(flush=not self._has_more)
        return min(times) if due is None else min(due, *times)

    async def _wait_until(self, due: float, *tasks: asyncio.Task[None]) -> None:
        timer = asyncio.create_task(self._sleep(max(0.0, due - self._now)))
        try:
            await asyncio.wait([timer, self._wakeup, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if self._wakeup.done():
            self._wakeup = asyncio.get_running_loop().create_future()

    async def _sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def _wake(self) -> None:
        if not self._wakeup.done():
            self._wakeup.set_result(None)

    # Reading rows

    @property
    def _room(self) -> int:
        """How many rows may be read now."""
        engine = self._engine
        if self._bytes_in_engine >= _MAX_BYTES_IN_ENGINE:
            return 0
        room = self._window - engine.pending
        if not engine.accepts_items:
            return max(0, min(room, _MAX_ROWS_IN_OUTAGE - engine.pending))
        return room if room >= self._options.chunk_size else 0

    async def _load(self) -> None:
        now = self._now
        if now >= self._polled_at + self._options.poll_interval:
            self._polled_at = now
            self._has_more = True  # other processes may have recorded something
        room = self._room
        if not self._has_more or not room or now < self._load_at:
            return
        self._has_more = False
        page = await self._writer.run(
            Database.load,
            self._loaded,
            room,
            _MAX_BYTES_IN_ENGINE - self._bytes_in_engine,
            self._unix_time,
        )
        self._load_at = self._now + _LOAD_SECONDS
        self._loaded = page.last
        self._has_more = self._has_more or not page.is_last
        parked = self._parked
        self._add(row for row in page.rows if row.instance not in parked)
        self._report_set_aside(page)

    async def _load_parked(self) -> None:
        now = self._now
        due = [
            group
            for group in self._parked.values()
            if not group.in_engine and group.due_at is not None and group.due_at <= now
        ]
        for group in due:
            instance = group.instance
            page = await self._writer.run(
                Database.load_instance, instance, self._loaded, _ROWS_OF_PARKED, self._unix_time
            )
            # A new group, because the engine sends nothing more of the old one.
            fresh = self._groups[instance] = Group(instance)
            if page.is_last:
                del self._parked[instance]
            else:
                fresh.due_at = now
                self._parked[instance] = fresh
            self._add(page.rows)
            self._report_set_aside(page)

    def _add(self, rows: Iterable[PendingWrite]) -> None:
        items: list[BatchItem] = []
        groups, deleting = self._groups, self._writer.deleting
        for row in rows:
            if row.sequence in deleting:
                continue
            group = groups.get(row.instance)
            if group is None:
                group = groups[row.instance] = Group(row.instance)
            group.in_engine += 1
            self._rows[row.sequence] = row
            self._bytes_in_engine += len(row.body)
            items.append(self._item_of(row, group))
        if items:
            self._engine.add(items)

    def _item_of(self, row: PendingWrite, group: Group) -> BatchItem:
        item = BatchItem(
            row.sequence,
            row.key,
            row.type,
            row.body,
            group=group,
            id=row.target,
            agent_instance_id=row.instance if row.type == CREATE_SPAN else None,
        )
        decode = self._options.decode
        if decode is not None:
            try:
                item.body = decode(row.body)
            except Exception as exc:  # noqa: BLE001 # the caller's own
                item.error = exc
        if row.sequence <= self._taken_over or row.tries or row.sequence in self._doubtful:
            item.history_or_none = ItemHistory(outcome_unknown=True)
            if row.type == FINISH_SPAN:  # to find the span, if its state has to be verified
                self._executor.span_instances.remember(row.target, row.instance)
        return item

    def _report_set_aside(self, page: Page) -> None:
        for letter in page.blocked:
            self._report_dead(letter, letter.exception)
        for sequence in page.dropped:
            self._receipts.resolve(sequence, OutboxDroppedError(DROPPED))

    # Outcomes

    def _on_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        rows, groups = self._rows, self._groups
        delivered: list[PendingWrite] = []
        ok: list[Outcome] = []
        for outcome in outcomes:
            row = rows.pop(outcome.index)
            self._bytes_in_engine -= len(row.body)
            group = groups[row.instance]
            group.in_engine -= 1
            if outcome.state is State.OK:
                delivered.append(row)
                ok.append(outcome)
                if not group.in_engine and group.due_at is None:
                    del groups[row.instance]
            else:
                self._on_problem(row, group, outcome)
        if delivered:
            self._on_delivered(delivered, ok)

    def _on_delivered(self, delivered: list[PendingWrite], ok: list[Outcome]) -> None:
        self._writer.delete(delivered)
        self._receipts.resolve_ok(ok)
        self._same_refusals = 0
        if self._doubtful:
            self._doubtful.difference_update([row.sequence for row in delivered])
        if self._pause_reason is not None:
            self._pause_reason, self._paused_for = None, 0.0
            LOG.info("the outbox delivers again")

    def _on_problem(self, row: PendingWrite, group: Group, outcome: Outcome) -> None:
        """Park the instance of a write that was not delivered."""
        if outcome.unknown:
            self._doubtful.add(row.sequence)
        if group.due_at is None:
            group.due_at = math.inf
            self._parked[row.instance] = group
        if self._engine.fatal_error is not None or _is_blocked(outcome):
            return
        group.due_at = math.inf
        task = asyncio.create_task(self._settle(row, group, outcome))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, row: PendingWrite, group: Group, outcome: Outcome) -> None:
        """Decide what happens to a write that was not delivered, and when its instance is due."""
        delay = _FIRST_PAUSE
        try:
            delay = await self._decide(row, outcome)
        except Exception:  # noqa: BLE001 # delivery must go on
            LOG.exception("the outbox could not handle the outcome of write %d", row.sequence)
        finally:
            group.due_at = self._now + delay
            self._wake()

    async def _decide(self, row: PendingWrite, outcome: Outcome) -> float:
        error = outcome.error
        assert error is not None  # noqa: S101 # of an outcome that is not ok
        if not isinstance(error, PrefactorApiError) or not _is_refusal(error):
            return await self._postpone(row, error)
        try:
            found = await self._verify(row, error, in_doubt=outcome.unknown)
        except PrefactorHttpError as problem:
            error.outcome_unknown = True
            if problem is not error:
                error.add_note(f"could not verify whether it was applied: {describe(problem)}")
            return await self._postpone(row, error)
        if found is not None:
            self._on_delivered([row], [_verified(row, found)])
            return 0.0
        reason = (error.code, *sorted(error.errors))
        is_same = reason == self._last_refusal
        self._last_refusal = reason
        self._same_refusals = self._same_refusals + 1 if is_same else 1
        if self._same_refusals >= _MAX_SAME_REFUSALS:
            self._same_refusals = _MAX_SAME_REFUSALS - 1  # one more pauses again
            self._pause_error = error
            return 0.0
        # If the outcome was in doubt, the read has shown that the write was not applied.
        error.outcome_unknown = False
        await self._bury(row, "refused", error)
        return 0.0

    async def _verify(
        self, row: PendingWrite, error: PrefactorApiError, *, in_doubt: bool
    ) -> object | None:
        """Find out whether a refused write is applied, or not needed anymore.

        Returns:
            The resource if so; None if the refusal counts.

        Raises:
            PrefactorHttpError: It cannot be found out now.
        """
        if row.type in _FINISHES and error.code == INVALID_ACTION:
            instance = await self._read(_api.GET_INSTANCE, row.instance, None)
            if instance.status == "terminated":
                return instance if row.type != FINISH_SPAN else _NOT_NEEDED
        if not in_doubt:
            return None
        operation = _api.BY_BULK_TYPE[row.type]
        if operation.reconciliation is None:
            return None
        fields = msgspec.json.decode(self._body_of(row), type=dict[str, Any])
        resource_id = fields.get(operation.path_field or "")
        found = await reconcile(self._read, operation, fields, resource_id, row.instance)
        if found.applied is Applied.YES:
            return resource_of(found.result)
        # It does not exist, or is in an earlier state: a replica may be late.
        is_read = found.error is None or (
            isinstance(found.error, PrefactorNotFoundError) and found.error.from_api
        )
        if found.applied is Applied.NO or (is_read and row.tries + 1 >= _MAX_DOUBTFUL_TRIES):
            return None
        raise error

    async def _read(
        self, operation: Operation[Any], resource_id: str | None, params: Mapping[str, str] | None
    ) -> Any:
        if params is None:
            return await self._executor.send(operation, None, resource_id)
        return await self._executor.read(operation, params, resource_id)

    def _body_of(self, row: PendingWrite) -> bytes:
        decode = self._options.decode
        return row.body if decode is None else decode(row.body)

    async def _postpone(self, row: PendingWrite, error: Exception) -> float:
        """Keep a write without a definite answer, unless it has had none for `max_age`."""
        now, max_age = self._unix_time, self._options.max_age
        since = now if row.unknown_since is None else row.unknown_since
        if max_age is not None and now - since >= max_age:
            await self._bury(row, "unknown", error)
            return 0.0
        LOG.warning("write %d (%s, key %s): %s", row.sequence, row.type, row.key, error)
        await self._writer.run(Database.mark_unknown, row, str(error), now)
        return min(_MAX_BACKOFF, backoff(self._executor.config, row.tries))

    async def _bury(self, row: PendingWrite, state: DeadState, error: Exception) -> None:
        letter = await self._writer.run(Database.bury, row, state, error, self._unix_time)
        self._doubtful.discard(row.sequence)
        self._report_dead(letter, error)

    def _report_dead(self, letter: DeadLetter, error: Exception) -> None:
        LOG.error(
            "write %d is a dead letter: %s of %s was %s (key %s): %s",
            letter.sequence,
            letter.type,
            letter.id,
            _DEAD_STATES[letter.state],
            letter.idempotency_key,
            letter.error,
        )
        self._receipts.resolve(letter.sequence, error)
        if self._options.on_dead is not None:
            try:
                self._options.on_dead(letter)
            except Exception:  # noqa: BLE001 # the caller's own; delivery must go on
                LOG.exception("on_dead raised")

    # Runs and pauses

    def _new_engine(self) -> BatchEngine:
        return BatchEngine(
            self._executor, DELIVER, self._batch_options, self._on_outcomes, self._find_applied
        )

    async def _find_applied(self, items: list[BatchItem]) -> list[tuple[BatchItem, object]]:
        """Find the quality payloads that are recorded already; see the module."""
        items = [item for item in items if self._may_be_forgotten(item)]
        found = await asyncio.gather(*map(self._find_quality, items))
        return [(item, each) for item, each in zip(items, found, strict=True) if each is not None]

    def _may_be_forgotten(self, item: BatchItem) -> bool:
        if item.type != _api.RECORD_QUALITY.bulk:
            return False
        age = self._unix_time - self._rows[item.index].recorded_at
        return item.index <= self._taken_over or age >= _KEY_SECONDS

    async def _find_quality(self, item: BatchItem) -> object | None:
        try:
            instance = await self._read(_api.GET_INSTANCE, item.id, None)
        except PrefactorNotFoundError:
            return None  # not registered yet, so it was not sent
        return instance if was_quality_recorded(item.fields, instance) is Applied.YES else None

    def _new_run(self) -> None:
        """Start to read from the beginning, with a new engine."""
        self._engine = self._new_engine()
        self._rows.clear()
        self._groups.clear()
        self._parked.clear()
        self._bytes_in_engine = 0
        self._loaded = 0
        self._has_more = True
        self._load_at = self._polled_at = self._now
        self._pause_error = None

    async def _end_run(self, error: Exception) -> None:
        """End the run of the engine. Requests in flight may complete."""
        engine = self._engine
        if engine.fatal_error is None:
            engine.fail(error)
        await engine.close()
        engine.process_completed()
        if self._settling:
            await asyncio.wait(self._settling)

    async def _pause(self, error: Exception) -> None:
        await self._end_run(error)
        self._paused_for = min(_MAX_PAUSE, max(_FIRST_PAUSE, 2 * self._paused_for))
        if self._pause_reason is None:
            LOG.error(
                "the outbox has paused delivery, and tries again in %g s: %s",
                self._paused_for,
                error,
            )
        self._pause_reason = error
        self._new_run()
        until = self._now + self._paused_for
        while not self._is_closing and self._now < until:
            await self._wait_until(until)


def _is_blocked(outcome: Outcome) -> bool:
    """Whether an earlier write of the same instance is the reason of an outcome."""
    return outcome.blocked or (outcome.unknown and type(outcome.error) is PrefactorClientError)


def _is_refusal(error: PrefactorApiError) -> bool:
    """Whether the API itself has refused a write for good."""
    return (
        not is_transient_http_error(error)
        and error.status_code < _SERVER_ERROR
        and (error.from_api or error.status_code == _TOO_LARGE)
    )


def _verified(row: PendingWrite, resource: object) -> Outcome:
    """Build the outcome of a write whose success was verified by reading its resource."""
    return Outcome(
        index=row.sequence,
        idempotency_key=row.key,
        type=row.type,
        state=State.OK,
        instance=resource if isinstance(resource, AgentInstance) else None,
        raw=None if resource is _NOT_NEEDED else encode_success(resource),
    )
