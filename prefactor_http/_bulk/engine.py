"""Sends the items of a batch through the bulk endpoint until each has an outcome (contract §9).

The engine does not know where items come from and who reads the outcomes: a front end adds items,
lets it `advance`, waits for its `waits`, lets it `collect`, and so on. Every item that was added
gets exactly one outcome, whatever happens. Items keep their bytes and their keys, whatever request
they are sent in, so nothing is applied twice.

A request can fail without anyone being able to say why. These are the rules (`_batch_failure` has
the reasons):

* The API is *down* while the last request failed and its failure is not explained by its items.
  Then nothing is added, and one item at a time is sent as a probe, from either end of what waits:
  a probe can itself be the item that fails. A success of any request ends this state. If it lasts
  for `max_outage` seconds, the run ends.
* A request that fails for the first time is sent again as it is. If it fails again although
  another one has succeeded since, it is split, and each part is sent once before it is split
  further, as long as something else succeeds in between.
* An item that fails alone, while others succeed, is given up when its failures cannot be chance.
* A request that times out is split at once, and later ones are smaller.

What was sent and got no answer may have been applied. Each item carries this on: a later refusal
that can be the echo of its own success is verified by reading the resource (`_reconciliation`),
and an item that ends without an answer is `unknown`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from prefactor_http import _api
from prefactor_http._bulk.chunk_result import ChunkResult, ItemError, parse
from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._bulk.failure import FailureKind, FailureRates, kind_of, way_of
from prefactor_http._bulk.operation import BatchOperation
from prefactor_http._bulk.options import BatchOptions
from prefactor_http._bulk.outcome import Entry, Outcome, State
from prefactor_http._bulk.output import may_be_echo, resource_in, success_of
from prefactor_http._bulk.queue import BatchQueue, Chunk
from prefactor_http._http.codec import describe
from prefactor_http._http.errors import LOG
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Applied, Operation
from prefactor_http._http.reconciliation import Reconciled, may_reconcile, reconcile
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    is_transient_http_error,
)
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan

Deliver = Callable[[Iterable[Outcome]], object]

_MAX_DRAIN = 10.0
_MAX_MALFORMED = 2
_MAX_CONTRADICTIONS = 1
_LINGER = 0.5
_PROBE_PERIOD = 2.0
_MAX_SUSPECT_EXPONENT = 3  # others succeed, so that waiting longer does not help
_FEW = 10
_OUTAGE = 3  # failures in a row that are worth a line in the log
_OK, _SERVER_ERROR = 200, 500
_MISSING = "the response lacks outputs of items that nothing had stopped"


class BatchEngine:
    """Sends items in bulk requests.

    Args:
        executor: The client.
        operation: The bulk request.
        options: Bounds of the batch.
        deliver: Gets the outcomes, in any order.

    Attributes:
        unsettled: Items that were added and have no outcome yet.
        end: The error that ended the run; None while it goes on. Nothing more is sent then.
    """

    def __init__(
        self, executor: Executor, operation: BatchOperation, options: BatchOptions, deliver: Deliver
    ) -> None:
        config = executor.config
        self._operation = operation
        self._options = options
        self._deliver = deliver
        self._clock = executor.clock
        self._redactor = executor.redactor
        self._reader = executor.with_options(deadline=None)
        # The engine retries: it knows what else succeeds, and `deadline` is for a single call.
        self._executor = executor.with_options(deadline=None, max_retries=0)
        self._max_retries = config.max_retries
        self._drain = min(_MAX_DRAIN, config.request_timeout)
        self._controller = ConcurrencyController(options, config)
        self._queue = BatchQueue()
        self._in_flight: dict[asyncio.Task[None], Chunk] = {}
        self._reconciling: dict[asyncio.Task[None], Entry] = {}
        self._held: list[tuple[float, Entry]] = []  # items that wait, and until when
        self._waiting_since: float | None = None
        self._request_rates, self._item_rates = FailureRates(), FailureRates()
        self._successes = 0  # requests that were answered
        self._down_since: float | None = None  # the first failure since the last success
        self._failures = 0  # failed requests since the last success
        self._unexplained = 0  # those of them that no item explains
        self._is_down = self._is_throttled = False
        self._advanced_at = self._probe_at = self._send_at = 0.0
        self._probes: deque[Chunk] = deque()
        self._probed = 0  # items taken as probes
        self._failed_items = 0
        self._has_ok = False
        self._refusal: tuple[object, ...] | None = None
        self._same_refusals = 0
        self.unsettled = 0
        self.end: PrefactorHttpError | None = None

    @property
    def takes_items(self) -> bool:
        """Whether items should be added now: not while the API is down."""
        return self.end is None and not (self._is_down and self.unsettled)

    @property
    def waits(self) -> list[asyncio.Task[None]]:
        """What is going on; when one of them is done, `collect` and `advance`."""
        return [*self._in_flight, *self._reconciling]

    def add(self, entries: list[Entry]) -> None:
        """Add items; each gets one outcome."""
        self.unsettled += len(entries)
        self._queue.add(entries)
        if self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()

    def advance(self, *, flush: bool) -> None:
        """Send what can be sent now.

        Args:
            flush: Whether requests may leave that are not full, as no more items can join them.
        """
        now = self._advanced_at = self._clock.monotonic()
        for held in [held for held in self._held if held[0] <= now]:
            self._held.remove(held)
            self._queue.resume(held[1])
            self._probe_at = min(self._probe_at, now)
        while self.end is None:
            chunk = self._next_chunk(now, flush=flush)
            self._report_unsent()
            if chunk is None:
                return
            if self.end is None:
                self._in_flight[asyncio.create_task(self._send(chunk))] = chunk
            else:
                self._queue.give_back(chunk, chunk.entries)
                self._sweep()

    def wake_at(self, *, flush: bool) -> float | None:
        """Return when `advance` has something to do although nothing has happened until then."""
        if self.end is not None:
            return None
        times = [until for until, _ in self._held]
        if self._is_down:
            if not self._in_flight:
                times.append(max(self._probe_at, self._send_at))
        elif len(self._in_flight) < self._limit:
            if self._advanced_at < self._send_at:
                times.append(self._send_at)
            elif self._waiting_since is not None and not flush:
                times.append(self._waiting_since + _LINGER)
        return min((time for time in times if time < math.inf), default=None)

    def collect(self) -> None:
        """Take note of what is done."""
        for task in [task for task in self._reconciling if task.done()]:
            entry = self._reconciling.pop(task)
            exc = _cancelled() if task.cancelled() else task.exception()
            if exc is not None:
                self._on_crash([entry], exc)
        for task in [task for task in self._in_flight if task.done()]:
            chunk = self._in_flight.pop(task)
            exc = _cancelled() if task.cancelled() else task.exception()
            if exc is not None:
                done = {outcome.idempotency_key for outcome in chunk.ok}
                self._on_crash((e for e in chunk.entries if e.key not in done), exc)

    def fail(self, exc: BaseException) -> None:
        """End the run because of an exception that nobody expected."""
        self._abandon(self._unexpected(exc))

    async def close(self) -> None:
        """Let requests in flight end, within a bound, then cancel them."""
        tasks = self.waits
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._drain)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _limit(self) -> int:
        return 1 if self._is_throttled else self._controller.limit

    def _next_chunk(self, now: float, *, flush: bool) -> Chunk | None:
        if now < self._send_at:
            return None
        if self._is_down:
            return self._next_probe(now)
        if len(self._in_flight) >= self._limit:
            return None
        queue, controller = self._queue, self._controller
        chunk = queue.next_retry()
        if chunk is not None:
            return chunk
        since = self._waiting_since
        may_wait = not flush and not queue.has_returned and since is not None
        chunk = queue.take(
            controller.items,
            controller.max_bytes,
            only_full=may_wait and now < (since or 0.0) + _LINGER,
        )
        if not queue.has_waiting:
            self._waiting_since = None
        elif chunk is not None:
            self._waiting_since = now
        return chunk

    def _next_probe(self, now: float) -> Chunk | None:
        if self._in_flight or now < self._probe_at:
            return None
        seconds = now - (self._down_since or now)
        if not self._probes or self._probed < 2 + int(seconds / _PROBE_PERIOD):
            chunk = self._queue.take_one(_probe_place(self._probed))
            if chunk is not None:
                self._probed += 1
                return chunk
        if self._probes:
            return self._probes.popleft()
        self._probe_at = math.inf  # until an item that is held may go
        return None

    async def _send(self, chunk: Chunk) -> None:
        started = now = self._clock.monotonic()
        try:
            reply = await self._executor.send(
                self._operation,
                chunk.body,
                needs_new_connection=chunk.needs_new_connection,
            )
            result = parse(chunk.entries, reply, self._redactor)
            now = self._clock.monotonic()
        except PrefactorHttpError as error:
            self._on_failure(chunk, error.with_traceback(None), kind_of(error), started)
        except Exception as exc:  # noqa: BLE001 # whatever it is, each item gets an outcome
            # Waiting does not help. Other requests succeed: perhaps an item is at fault.
            kind = FailureKind.LOST if self._successes else FailureKind.FATAL
            self._on_failure(chunk, self._unexpected(exc), kind, started)
        else:
            self._on_response(chunk, result, started, now)
        if self.end is not None:
            self._sweep()

    # Requests that succeed

    def _on_response(self, chunk: Chunk, result: ChunkResult, started: float, now: float) -> None:
        if not self._failures and not chunk.entries[0].failures:
            self._request_rates.record_success()
        self._successes += 1
        self._is_throttled = False
        self._come_up()
        chunk.ok, failed = result.ok, len(result.errors)
        self._controller.record_response(
            now, now - started, len(chunk.entries), len(result.ok) + failed, failed
        )
        self.unsettled -= len(result.ok)
        self._deliver(result.ok)
        self._has_ok = self._has_ok or bool(result.ok)
        for span in result.spans:
            self._note_span(span)
        if len(result.ok) == len(chunk.entries):
            self._queue.give_back(chunk)
        else:
            self._on_items_left(chunk, result, now)

    def _on_items_left(self, chunk: Chunk, result: ChunkResult, now: float) -> None:
        """Settle the items of an answered request that are not ok, or send them again."""
        again = {entry.key for entry in result.rest}
        problems = {entry.key: problem for entry, problem in result.contradicted}
        problems |= dict.fromkeys((entry.key for entry in result.missing), _MISSING)
        errors = {error.entry.key: error for error in result.errors}
        self._item_rates.record_success(len(result.ok))
        kept: list[Entry] = []
        unanswered: list[Entry] = []
        for entry in chunk.entries:
            if entry.key not in again and entry.key not in problems and entry.key not in errors:
                continue  # ok
            entry.past.attempts += 1
            # Without an output, or with one that cannot be believed.
            entry.past.outcome_unknown |= entry.key in problems or (
                entry.key in errors and errors[entry.key].error.outcome_unknown
            )
            ahead = kept if entry.key in problems else [*kept, *unanswered]
            if any(entry.group is not None and entry.group == other.group for other in ahead):
                again.add(entry.key)  # behind another one of its group
            elif entry.key in errors:
                if self._on_item_error(entry, errors[entry.key], now):
                    kept.append(entry)
            elif entry.key in problems and self._on_no_answer(entry, problems[entry.key]):
                unanswered.append(entry)
        rest = [entry for entry in chunk.entries if entry.key in again]
        self._queue.give_back(chunk, rest, [*kept, *unanswered])
        if unanswered:
            groups = {entry.group for entry in unanswered} - {None}
            self._queue.retry(Chunk(unanswered, groups, needs_new_connection=True))

    def _on_item_error(self, entry: Entry, item: ItemError, now: float) -> bool:
        """Handle the output of an item that is not a success.

        Returns:
            Whether the item is kept, to be sent again or settled later.
        """
        error = item.error
        if not isinstance(error, PrefactorApiError):
            self._settle_with(entry, State.UNKNOWN, entry.describe(error), item.raw)
            return False
        if not is_transient_http_error(error):
            return self._on_refusal(entry, error, item.raw, is_whole=False)
        way = way_of(error)
        if not entry.past.refusals:
            self._item_rates.record_failure(way)
        entry.past.refusals += 1
        entry.past.note_way(way)
        entry.past.since = now if entry.past.since is None else entry.past.since
        is_over = now - entry.past.since >= self._options.max_outage
        if error.status_code >= _SERVER_ERROR and entry.past.refusals > self._max_retries:
            is_over |= self._item_rates.is_no_chance(way, entry.past.same, entry.past.refusals)
        if is_over or self.end is not None:
            self._settle_failed(entry, entry.describe(error), item.raw)
            return False
        self._hold(entry, now + self._controller.backoff(entry.past.refusals))
        return True

    def _on_no_answer(self, entry: Entry, problem: str) -> bool:
        """Handle an item that has no output, or that of another resource.

        Returns:
            Whether it is to be sent again, on a new connection.
        """
        entry.past.unanswered += 1
        most = _MAX_MALFORMED if problem is _MISSING else _MAX_CONTRADICTIONS
        if entry.past.unanswered <= most and self.end is None:
            return True
        error = PrefactorResponseContractError(f"{entry.type}: {problem}", status_code=_OK)
        self._settle_with(entry, State.UNKNOWN, entry.describe(error))
        return False

    def _note_span(self, span: AgentSpan) -> None:
        instances = self._executor.span_instances
        if span.finished_at is None:
            instances.remember(span.id, span.agent_instance_id)
        else:
            instances.forget(span.id)

    # Refusals

    def _on_refusal(
        self, entry: Entry, error: PrefactorApiError, raw: bytes | None, *, is_whole: bool
    ) -> bool:
        """Handle the API's own refusal of an item, or of the request that contained only it.

        Returns:
            Whether the item is kept, as its outcome is being verified.
        """
        if not entry.past.outcome_unknown:
            self._settle_with(entry, State.FAILED, entry.describe(error), raw)
            return False
        operation = _api.BY_BULK_TYPE.get(entry.type)
        if operation is not None:
            fields = entry.fields
            if may_reconcile(operation, fields, error):
                verify = self._reconcile(entry, operation, fields, error, raw)
                self._reconciling[asyncio.create_task(verify)] = entry
                return True
        # A request that was refused as a whole says nothing about an earlier one.
        entry.past.outcome_unknown = is_whole or may_be_echo(entry.type, error)
        self._settle_failed(entry, entry.describe(error), raw)
        return False

    async def _reconcile(
        self,
        entry: Entry,
        operation: Operation[Any],
        fields: Mapping[str, Any],
        error: PrefactorApiError,
        raw: bytes | None,
    ) -> None:
        """Find out whether an earlier request has caused a refusal; see `_reconciliation`."""
        resource_id = fields.get(operation.path_field or "")
        try:
            found = await reconcile(
                self._read,
                operation,
                fields,
                resource_id,
                self._executor.span_instances.get(resource_id),
            )
        except Exception as exc:  # noqa: BLE001 # such as an id that is no str
            found = Reconciled(Applied.UNKNOWN, error=self._unexpected(exc))
        if found.error is not None:
            LOG.warning(
                "could not verify the outcome of %s (key %s): %s",
                entry.type,
                entry.key,
                describe(found.error),
            )
        if found.applied is Applied.YES:
            self._has_ok = True
            self._settle(entry, _outcome_of(entry, found.result))
        else:
            entry.past.outcome_unknown = found.applied is Applied.UNKNOWN
            self._settle_failed(entry, entry.describe(error), raw)
        self._queue.release(entry.group)
        self._probe_at = 0.0
        if self.end is not None:
            self._sweep()

    async def _read(
        self, operation: Operation[Any], resource_id: str | None, params: Mapping[str, str] | None
    ) -> Any:
        if params is None:
            return await self._reader.send(operation, None, resource_id)
        return await self._reader.read(operation, params, resource_id)

    # Requests that fail

    def _on_failure(
        self, chunk: Chunk, error: PrefactorHttpError, kind: FailureKind, started: float
    ) -> None:
        """Decide what a request that failed as a whole means for its items and for the run."""
        for entry in chunk.entries:
            entry.past.attempts += 1
            entry.past.outcome_unknown |= error.outcome_unknown
        if self.end is not None or kind is FailureKind.FATAL:
            self._queue.give_back(chunk, chunk.entries)
            self._abandon(error)
            return
        is_alone = len(chunk.entries) == 1
        now = self._clock.monotonic()
        if kind is FailureKind.REFUSED or kind is FailureKind.TOO_LARGE:
            self._come_up()  # it has answered
            self._on_refused(chunk, error, kind)
        elif kind is FailureKind.MALFORMED:
            self._on_malformed(chunk, error)
        elif self._is_over(error, now):
            self._queue.give_back(chunk, chunk.entries)
            self._abandon(self._exhausted(error, now))
        elif kind is FailureKind.NOT_NOW:
            self._is_throttled = True
            self._controller.back_off(now)
            self._send_at = max(self._send_at, now + self._controller.backoff(self._failures))
            self._queue.retry(chunk)
        elif kind is FailureKind.TIMED_OUT and not is_alone:
            self._on_timeout(chunk, error, started, now)
        elif is_alone:
            self._on_lost_item(chunk, chunk.entries[0], error, now)
        else:
            self._on_lost(chunk, error, now)

    def _on_refused(self, chunk: Chunk, error: PrefactorHttpError, kind: FailureKind) -> None:
        """Find the item that a request was refused for."""
        if len(chunk.entries) == 1:
            entry, own = chunk.entries[0], chunk.entries[0].own(error)
            is_kept = isinstance(own, PrefactorApiError) and self._on_refusal(
                entry, own, None, is_whole=True
            )
            self._queue.give_back(chunk, kept=[entry] if is_kept else [])
        elif kind is FailureKind.TOO_LARGE:
            self._controller.record_too_large(len(chunk.body))
            self._queue.give_back(chunk, chunk.entries)
        else:
            self._queue.split(chunk, is_part=False)

    def _on_malformed(self, chunk: Chunk, error: PrefactorHttpError) -> None:
        """Repeat a request on a new connection; then blame its items, as nobody else can be."""
        if chunk.failed_at is None:
            chunk.failed_at = self._successes
        chunk.malformed += 1
        if chunk.malformed <= _MAX_MALFORMED:
            chunk.needs_new_connection = True
            self._queue.retry(chunk)
        elif len(chunk.entries) > 1 and self._successes > chunk.failed_at:
            chunk.malformed = _MAX_MALFORMED  # each part is sent once before it is split
            self._queue.split(chunk, is_part=False)
        else:
            for entry in chunk.entries:
                self._settle_with(entry, State.UNKNOWN, entry.own(error))
                self._count_refusal((type(error),), error)
            self._queue.give_back(chunk)

    def _on_timeout(
        self, chunk: Chunk, error: PrefactorHttpError, started: float, now: float
    ) -> None:
        """Make requests smaller, or this one alone if others of its size have succeeded."""
        is_too_slow = self._controller.record_timeout(started, len(chunk.entries))
        if is_too_slow:
            self._queue.give_back(chunk, chunk.entries)
        else:
            for entry in chunk.entries:
                self._suspect(entry, way_of(error))
            chunk.failed_at = self._successes
            self._queue.split(chunk, is_part=False)
        self._go_down(now, error, is_explained=not is_too_slow)

    def _on_lost(self, chunk: Chunk, error: PrefactorHttpError, now: float) -> None:
        """Handle the failure of a request of several items that nobody has explained."""
        is_suspect = chunk.is_part or chunk.failed_at is not None
        others_succeed = chunk.failed_at is not None and self._successes > chunk.failed_at
        nothing_else = is_suspect and self._is_left_alone(chunk.entries)
        way = self._record_failure(chunk, error)
        if others_succeed or nothing_else or not is_suspect:
            for entry in chunk.entries:
                self._suspect(entry, way)
        chunk.failed_at = self._successes
        if is_suspect and (others_succeed or nothing_else):
            self._queue.split(chunk, is_part=True)
        else:
            chunk.must_split = is_suspect
            self._queue.retry(chunk)
        if not nothing_else:
            self._go_down(now, error, is_explained=is_suspect)

    def _on_lost_item(
        self, chunk: Chunk, entry: Entry, error: PrefactorHttpError, now: float
    ) -> None:
        """Handle the failure of a request of one item that nobody has explained."""
        nothing_else = self._is_left_alone(chunk.entries)
        is_suspect = nothing_else or self._is_suspect(entry)
        # In an outage a failure says nothing about an item, unless there is nothing else to send.
        counts = is_suspect and (self._successes > entry.past.last_failed_at or nothing_else)
        way = self._record_failure(chunk, error)
        if counts or entry.past.failed_at is None:
            self._suspect(entry, way)
        if not is_suspect:
            self._probes.append(chunk)
        elif counts and self._request_rates.is_no_chance(way, entry.past.same, entry.failures):
            self._request_rates.explain(way)
            entry.past.outcome_unknown |= not _is_definite(error)
            self._settle_failed(entry, entry.own(error))
            self._queue.give_back(chunk)
        else:
            entry.past.failures_alone += 1
            tries = entry.past.failures_alone
            if self._is_suspect(entry):
                tries = min(tries, _MAX_SUSPECT_EXPONENT)
            self._queue.give_back(chunk, kept=[entry])
            self._hold(entry, now + self._controller.backoff(tries))
        if not nothing_else:
            self._go_down(now, error, is_explained=is_suspect)

    def _record_failure(self, chunk: Chunk, error: PrefactorHttpError) -> Hashable:
        way = way_of(error)
        if self._failures == 1 and not chunk.entries[0].failures:
            self._request_rates.record_failure(way)
        return way

    def _suspect(self, entry: Entry, way: Hashable) -> None:
        """Count a failure that may be the item's fault."""
        entry.past.failures += 1
        entry.past.last_failed_at = self._successes
        entry.past.note_way(way)
        if entry.past.failed_at is None:
            entry.past.failed_at = self._successes

    def _is_suspect(self, entry: Entry) -> bool:
        """Whether another request has succeeded since the item's first failure."""
        failed_at = None if entry.history is None else entry.history.failed_at
        return failed_at is not None and self._successes > failed_at

    def _is_left_alone(self, entries: list[Entry]) -> bool:
        """Whether nothing can be sent but these items and others that have failed before.

        Nothing will succeed then that could tell them from an outage. All of them have to be under
        suspicion, or few, in a run in which others have succeeded.
        """
        are_few = self.unsettled <= _FEW and self._successes > 0
        in_flight = (entry for chunk in self._in_flight.values() for entry in chunk.entries)
        probes = (entry for chunk in self._probes for entry in chunk.entries)
        held = (entry for _, entry in self._held)
        return all(
            self._is_suspect(entry) or (are_few and entry.failures > 0)
            for entry in itertools.chain(
                entries, held, probes, in_flight, self._queue.sendable, self._reconciling.values()
            )
        )

    def _is_over(self, error: PrefactorHttpError, now: float) -> bool:
        """Count a failed request; whether the API has been down for too long, or will be."""
        if self._down_since is None:
            self._down_since = now
        self._failures += 1
        if self._failures == _OUTAGE:
            LOG.warning(
                "%s: the API seems to be down; trying for up to %g s: %s",
                self._operation.name,
                self._options.max_outage,
                describe(error),
            )
        ends_at = self._down_since + self._options.max_outage
        retry_after: float = getattr(error, "retry_after", None) or 0.0
        if retry_after:
            self._send_at = max(self._send_at, now + retry_after)
            if self._send_at > ends_at:
                return True
        return now >= ends_at and self._failures > self._max_retries

    def _exhausted(self, error: PrefactorHttpError, now: float) -> PrefactorHttpError:
        """Make the error of a run during which the API was down for too long."""
        if getattr(error, "retry_after", None):
            error.add_note("not repeated: the API may be down for `max_outage` seconds, no longer")
            return error
        if not self._max_retries:
            return error
        seconds = now - (self._down_since or now)
        exhausted = PrefactorRetryExhaustedError(
            f"{self._operation.name} failed {self._failures} times in {seconds:.1f} s, "
            f"the last time with: {describe(error)}",
            error,
        )
        exhausted.__cause__ = error
        exhausted.method, exhausted.path = error.method, error.path
        exhausted.attempts = self._failures
        exhausted.outcome_unknown = error.outcome_unknown
        return exhausted

    def _unexpected(self, exc: BaseException) -> PrefactorHttpError:
        """Wrap an exception that is not ours: nobody knows when it happened."""
        if isinstance(exc, PrefactorHttpError):
            return exc
        text = self._redactor.text(f"unexpected {type(exc).__name__}: {exc}")
        error = PrefactorClientError(text)
        error.__cause__ = exc
        error.outcome_unknown = True
        return error

    def _go_down(self, now: float, error: PrefactorHttpError, *, is_explained: bool) -> None:
        """Send nothing but probes until one of them succeeds.

        If the failure is most likely that of an item, and the other part of its request has not
        been sent yet, that part is the probe. Otherwise the first probe is sent at once if the
        failure is most likely that of an item, or of a connection that the server had closed.
        """
        if is_explained and not self._is_down and self._queue.has_part:
            return
        if self._is_down or not is_explained:
            self._unexplained += 1
            self._controller.back_off(now)
        self._is_down = True
        at_once = not self._unexplained or (self._unexplained == 1 and _is_cut_off(error))
        # The last one when `max_outage` is over.
        ends_at = max(now, (self._down_since or now) + self._options.max_outage)
        wait = 0.0 if at_once else self._controller.backoff(self._unexplained)
        self._probe_at = min(now + wait, ends_at) if ends_at > now else now + wait

    def _come_up(self) -> None:
        """Go on as before: the API has answered."""
        self._is_down = False
        self._down_since = None
        self._failures = self._unexplained = self._probed = 0
        while self._probes:
            self._queue.retry(self._probes.popleft())

    # Outcomes

    def _hold(self, entry: Entry, until: float) -> None:
        self._held.append((until, entry))

    def _settle_with(
        self, entry: Entry, state: State, error: Exception, raw: bytes | None = None
    ) -> None:
        self._settle(entry, entry.outcome(state, error, raw))

    def _settle_failed(self, entry: Entry, error: Exception, raw: bytes | None = None) -> None:
        state = State.UNKNOWN if entry.past.outcome_unknown else State.FAILED
        self._settle_with(entry, state, error, raw)

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        """Deliver the outcome of one item."""
        entry.past.is_settled = True
        self.unsettled -= 1
        self._deliver([outcome])
        if self.end is None and not outcome.ok:
            self._queue.break_group(entry.group, is_certain=outcome.failed)
        if outcome.failed and self.end is None:
            self._count_failure(outcome.error)

    def _count_failure(self, error: Exception | None) -> None:
        self._failed_items += 1
        if isinstance(error, PrefactorApiError):
            self._count_refusal((error.code, *sorted(error.errors)), error)
        most = self._options.max_failures
        if most is not None and self._failed_items >= most:
            message = f"the batch stopped after {most} failures (max_failures)"
            self._abandon(PrefactorClientError(message))

    def _count_refusal(self, reason: tuple[object, ...], error: PrefactorHttpError) -> None:
        """End the run if all items so far were refused for the same reason."""
        self._same_refusals = self._same_refusals + 1 if reason == self._refusal else 1
        self._refusal = reason
        most = self._options.max_same_refusals
        if most is not None and self._same_refusals >= most and not self._has_ok:
            same = PrefactorClientError(
                f"the batch stopped: {most} items in a row were refused with the same error, and "
                f"none has succeeded (max_same_refusals): {describe(error)}"
            )
            self._abandon(same)

    def _report_unsent(self) -> None:
        unsent, self._queue.unsent = self._queue.unsent, []
        for entry in unsent:
            if entry.refusal is not None:
                self._settle_with(entry, State.FAILED, entry.refusal)
                continue
            state, text = State.BLOCKED, "not sent: an earlier item of its group did not succeed"
            if entry.past.outcome_unknown and not self._queue.is_certain(entry.group):
                state = State.UNKNOWN
                text = "not sent again: an earlier item of its group did not succeed"
            entry.past.outcome_unknown = state is State.UNKNOWN
            self._settle_with(entry, state, entry.describe(PrefactorClientError(text)))

    def _abandon(self, error: PrefactorHttpError) -> None:
        """End the run: send nothing more. What is in flight may end."""
        if self.end is None:
            self.end = error
        self._sweep()

    def _sweep(self) -> None:
        """Deliver the outcomes of all that waits after the end."""
        self._report_unsent()
        left = [entry for chunk in self._probes for entry in chunk.entries]
        left += [*(entry for _, entry in self._held), *self._queue.drain()]
        self._probes.clear()
        self._held.clear()
        for entry in left:
            self._settle_unsent(entry)

    def _settle_unsent(self, entry: Entry) -> None:
        assert self.end is not None  # noqa: S101 # asked before
        if entry.past.outcome_unknown:
            self._settle_with(entry, State.UNKNOWN, entry.own(self.end))
        else:
            unsent = PrefactorClientError(f"not sent: {self.end}")
            error = entry.refusal or entry.describe(unsent)
            self._settle_with(entry, State.FAILED, error)

    def _on_crash(self, entries: Iterable[Entry], exc: BaseException) -> None:
        """Handle an exception out of our own code, or out of an object of the caller's."""
        self.fail(exc)
        for entry in entries:
            if not entry.past.is_settled:
                entry.past.outcome_unknown = True
                self._settle_unsent(entry)


def _probe_place(number: int) -> float:
    """Spread probes evenly: the last item, the first one, the middle, then the quarters."""
    if number == 0:
        return 1.0
    number, place, step = number - 1, 0.0, 0.5
    while number:
        number, digit = divmod(number, 2)
        place, step = place + digit * step, step / 2
    return place


def _cancelled() -> PrefactorHttpError:
    """Make the error of a request that was cancelled, as by somebody who cancels all tasks."""
    return PrefactorClientError("the request was cancelled")


def _is_cut_off(error: PrefactorHttpError) -> bool:
    """Whether a connection was lost after the request had been sent."""
    return isinstance(error, PrefactorConnectionError) and error.outcome_unknown


def _is_definite(error: PrefactorHttpError) -> bool:
    """Whether the API itself has said that the item was not applied."""
    return (
        isinstance(error, PrefactorApiError)
        and error.from_api
        and error.status_code < _SERVER_ERROR
    )


def _outcome_of(entry: Entry, result: object) -> Outcome:
    """Make the outcome of an item whose success was verified by reading its resource."""
    resource = resource_in(result)
    return Outcome(
        index=entry.index,
        idempotency_key=entry.key,
        type=entry.type,
        state=State.OK,
        instance=resource if isinstance(resource, AgentInstance) else None,
        raw=success_of(result),
    )
