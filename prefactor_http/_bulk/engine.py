"""Sends the items of a batch in bulk requests until each has an outcome (contract §9).

The engine does not know where items come from or who reads the outcomes. A front end adds items,
calls `advance`, waits for `tasks`, calls `process_completed`, and starts again. Every item that was
added gets exactly one outcome, whatever happens. Items keep their bytes and keys, whatever request
they are sent in, so nothing is applied twice.

A run is in one of these states. The cause of a failed request is often unknown; `failure` explains
how the engine infers it from what else succeeds.

* *Normal*: requests are sent concurrently. A request that fails for the first time is sent again
  unchanged.
* *Splitting*: a request that fails again, although another one has succeeded since, is split. Each
  part is sent once before it is split further, as long as something else succeeds in between. An
  item that fails alone, while others succeed, is given up when its failures cannot be chance.
* *Shrinking*: a request that times out is split immediately, and later requests are smaller.
* *Outage*: the last request failed and its items do not explain why. No items are added, and one
  item at a time is sent as a probe, from either end of the queue, since a probe can itself be the
  item that fails. Any response ends the outage; after `max_outage` seconds the run ends.

A request without a response may have been applied. Each item remembers this: a later refusal that
its own success can have caused is verified by reading the resource (`_http.reconciliation`), and an
item that ends without an answer is `unknown`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable

from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.chunk_result import ChunkResult, Success, match_outputs
from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._bulk.dispatcher import Dispatcher
from prefactor_http._bulk.failure import FailureKind, FailureRates, failure_signature, kind_of
from prefactor_http._bulk.limits import FailureLimits
from prefactor_http._bulk.operation import BatchOperation
from prefactor_http._bulk.options import BatchOptions
from prefactor_http._bulk.outage import OutageMonitor
from prefactor_http._bulk.outcome import Outcome, State
from prefactor_http._bulk.output import encode_success
from prefactor_http._bulk.queue import BatchQueue, Chunk
from prefactor_http._http.codec import describe
from prefactor_http._http.executor import Executor
from prefactor_http._http.observer import installed
from prefactor_http._http.reporting import report_retry, retry_reason
from prefactor_http.events import Retry
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorClientError,
    PrefactorHttpError,
)
from prefactor_http.models.agent_instance import AgentInstance

_MAX_DRAIN_SECONDS = 10.0
_LINGER_SECONDS = 0.5  # how long items wait for others to fill a request
_MAX_MALFORMED = 2
_MAX_SUSPECT_EXPONENT = 3  # others succeed, so waiting longer does not help
_MAX_LAST_ITEMS = 10
_SERVER_ERROR = 500

FindApplied = Callable[[list[BatchItem]], Awaitable[list[tuple[BatchItem, object]]]]


class BatchEngine(Dispatcher):
    """Sends items in bulk requests.

    Args:
        executor: Sends the requests.
        operation: The bulk request.
        options: Bounds of the batch.
        on_outcomes: Receives the outcomes, in any order.
        find_applied: Called before items are sent again whose outcome is unknown. Those that it
            returns have been applied and are not sent; their resources are their results.

    Attributes:
        pending: Number of items that were added and have no outcome yet.
        fatal_error: The error that ended the run. Nothing more is sent then.
    """

    def __init__(
        self,
        executor: Executor,
        operation: BatchOperation,
        options: BatchOptions,
        on_outcomes: Callable[[Iterable[Outcome]], object],
        find_applied: FindApplied | None = None,
    ) -> None:
        config = executor.config
        super().__init__(executor, ConcurrencyController(options, config), BatchQueue())
        self._find_applied = find_applied
        self._operation = operation
        self._max_outage = options.max_outage
        self._on_outcomes = on_outcomes
        # The engine retries: it knows what else succeeds. `deadline` is for single calls.
        self._executor = executor.with_options(deadline=None, max_retries=0)
        self._max_retries = config.max_retries
        self._drain_seconds = min(_MAX_DRAIN_SECONDS, config.request_timeout)
        self._outage = OutageMonitor(
            operation.name, options.max_outage, config.max_retries, self._controller
        )
        self._limits = FailureLimits(options)
        self._in_flight: dict[asyncio.Task[None], Chunk] = {}
        self._held: list[tuple[float, BatchItem]] = []  # items that back off, and until when
        self._failed_probes: deque[Chunk] = deque()
        self._waiting_since: float | None = None
        self._advanced_at = 0.0
        self._request_rates, self._item_rates = FailureRates(), FailureRates()
        self._is_throttled = False
        self.pending = 0
        self.fatal_error: PrefactorHttpError | None = None

    # The front end's interface

    @property
    def accepts_items(self) -> bool:
        """Whether items should be added now: not during an outage."""
        return self.fatal_error is None and not (self._outage.is_down and self.pending)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Tasks in progress. When one is done, call `process_completed` and `advance`."""
        return [*self._in_flight, *self._reconciling]

    def add(self, items: list[BatchItem]) -> None:
        """Add items. Each gets one outcome."""
        self.pending += len(items)
        if installed.observer is not None:
            installed.observer.on_items_in_flight(self._operation.name, len(items))
        self._queue.add(items)
        if self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()
        if self._outage.probe_at == math.inf:
            self._outage.probe_at = 0.0

    def advance(self, *, flush: bool) -> None:
        """Send what can be sent now.

        Args:
            flush: Whether to send requests that are not full, because no items can be added.
        """
        now = self._advanced_at = self._clock.monotonic()
        for held in [held for held in self._held if held[0] <= now]:
            self._held.remove(held)
            self._queue.resume(held[1])
            self._outage.probe_at = min(self._outage.probe_at, now)
        while self.fatal_error is None:
            chunk = self._next_chunk(now, flush=flush)
            self._resolve_unsendable()
            if chunk is None:
                return
            if self.fatal_error is None:
                self._in_flight[asyncio.create_task(self._send(chunk))] = chunk
            else:
                self._queue.dissolve(chunk, chunk.items)
                self._resolve_remaining()

    def wakeup_time(self, *, flush: bool) -> float | None:
        """Return when to call `advance` next, if no task completes before."""
        if self.fatal_error is not None:
            return None
        times = [until for until, _ in self._held]
        if self._outage.is_down:
            if not self._in_flight:
                times.append(max(self._outage.probe_at, self._outage.send_at))
        elif len(self._in_flight) < self._max_in_flight:
            if self._advanced_at < self._outage.send_at:
                times.append(self._outage.send_at)
            elif self._waiting_since is not None and not flush:
                times.append(self._waiting_since + _LINGER_SECONDS)
        return min((time for time in times if time < math.inf), default=None)

    def process_completed(self) -> None:
        """Remove completed tasks, and resolve the items of those that raised."""
        for task in [task for task in self._reconciling if task.done()]:
            item = self._reconciling.pop(task)
            exc = _cancelled() if task.cancelled() else task.exception()
            if exc is not None:
                self._on_crash([item], exc)
        for task in [task for task in self._in_flight if task.done()]:
            chunk = self._in_flight.pop(task)
            exc = _cancelled() if task.cancelled() else task.exception()
            if exc is not None:
                self._on_crash((item for item in chunk.items if item.key not in chunk.ok), exc)

    def fail(self, exc: BaseException) -> None:
        """End the run because of an unexpected exception."""
        self._end_run(self._unexpected(exc))

    async def close(self) -> None:
        """Wait for requests in flight for a limited time, then cancel them."""
        tasks = self.tasks
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._drain_seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Choosing and sending the next request

    @property
    def _max_in_flight(self) -> int:
        return 1 if self._is_throttled else self._controller.limit

    def _next_chunk(self, now: float, *, flush: bool) -> Chunk | None:
        if now < self._outage.send_at:
            return None
        if self._outage.is_down:
            return self._next_probe(now)
        if len(self._in_flight) >= self._max_in_flight:
            return None
        queue, controller = self._queue, self._controller
        chunk = queue.next_retry()
        if chunk is not None:
            return chunk
        since = self._waiting_since
        may_linger = not flush and not queue.has_requeued and since is not None
        chunk = queue.next_chunk(
            controller.max_items,
            controller.max_bytes,
            only_full=may_linger and now < (since or 0.0) + _LINGER_SECONDS,
        )
        if not queue.has_waiting:
            self._waiting_since = None
        elif chunk is not None:
            self._waiting_since = now
        return chunk

    def _next_probe(self, now: float) -> Chunk | None:
        outage = self._outage
        if self._in_flight or now < outage.probe_at:
            return None
        if not self._failed_probes or outage.needs_new_probe(now):
            chunk = self._queue.next_probe(outage.probe_position)
            if chunk is not None:
                outage.record_new_probe()
                return chunk
        if self._failed_probes:
            return self._failed_probes.popleft()
        outage.probe_at = math.inf  # until a held item is due, or items are added
        return None

    async def _send(self, chunk: Chunk) -> None:
        started = now = self._clock.monotonic()
        try:
            if self._find_applied is not None:
                await self._resolve_applied(chunk, self._find_applied)
                if not chunk.items:
                    return
            response = await self._executor.send(
                self._operation,
                chunk.body,
                items=len(chunk.items),
                needs_new_connection=chunk.needs_new_connection,
            )
            result = match_outputs(chunk.items, response, self._redactor)
            now = self._clock.monotonic()
        except PrefactorHttpError as error:
            self._on_failure(chunk, error.with_traceback(None), kind_of(error), started)
        except Exception as exc:  # noqa: BLE001 # each item gets an outcome, whatever happens
            # Waiting does not help. If other requests succeed, an item may be at fault.
            kind = FailureKind.UNEXPLAINED if self._successes else FailureKind.FATAL
            self._on_failure(chunk, self._unexpected(exc), kind, started)
        else:
            self._on_response(chunk, result, now - started, now)
        if self.fatal_error is not None:
            self._resolve_remaining()

    async def _resolve_applied(self, chunk: Chunk, find_applied: FindApplied) -> None:
        """Resolve the items of a chunk that an earlier request has applied."""
        in_doubt = [
            item
            for item in chunk.items
            if item.history_or_none is not None and item.history_or_none.outcome_unknown
        ]
        if not in_doubt:
            return
        applied = await find_applied(in_doubt)
        keys = {item.key for item, _ in applied}
        self._queue.keep(chunk, [item for item in chunk.items if item.key not in keys])
        for item, resource in applied:
            self._resolve_verified(item, resource)

    # Requests with a successful response

    def _on_response(self, chunk: Chunk, result: ChunkResult, seconds: float, now: float) -> None:
        if not self._outage.failures and not chunk.items[0].failures:
            self._request_rates.record_success()
        self._is_throttled = False
        self._end_outage()
        if len(result.ok) < len(chunk.items):
            self._item_rates.record_success(len(result.ok))
        super()._on_response(chunk, result, seconds, now)

    def _succeed(self, successes: list[Success]) -> None:
        self.pending -= len(successes)
        self._deliver([_outcome_of(success) for success in successes])
        self._limits.has_ok = self._limits.has_ok or bool(successes)

    def _may_repeat(self, item: BatchItem) -> bool:  # noqa: ARG002 # no item is different
        return self.fatal_error is None

    def _on_transient_error(
        self, item: BatchItem, error: PrefactorApiError, raw: bytes, now: float
    ) -> bool:
        history = item.history
        signature = failure_signature(error)
        if not history.rejections:
            self._item_rates.record_failure(signature)
        history.rejections += 1
        history.record_signature(signature)
        if history.rejected_since is None:
            history.rejected_since = now
        is_over = now - history.rejected_since >= self._max_outage
        if error.status_code >= _SERVER_ERROR and history.rejections > self._max_retries:
            is_over |= self._item_rates.is_significant(
                signature, history.same_signature, history.rejections
            )
        if is_over or self.fatal_error is not None:
            self._resolve_failed(item, item.describe(error), raw)
            return False
        self._held.append((now + self._controller.backoff(history.rejections), item))
        return True

    def _resolve_verified(self, item: BatchItem, result: object) -> None:
        self._limits.has_ok = True
        self._resolve(item, _outcome_of((item, result, encode_success(result))))

    def _on_reconciled(self) -> None:
        self._outage.probe_at = 0.0
        if self.fatal_error is not None:
            self._resolve_remaining()

    # Requests that fail as a whole

    def _on_failure(
        self, chunk: Chunk, error: PrefactorHttpError, kind: FailureKind, started: float
    ) -> None:
        """Decide what a failed request means for its items and for the run."""
        for item in chunk.items:
            item.history.attempts += 1
            item.history.outcome_unknown |= error.outcome_unknown
        if self.fatal_error is not None or kind is FailureKind.FATAL:
            self._queue.dissolve(chunk, chunk.items)
            self._end_run(error)
            return
        is_alone = len(chunk.items) == 1
        now = self._clock.monotonic()
        if kind is FailureKind.REFUSED or kind is FailureKind.TOO_LARGE:
            self._end_outage()  # the API has responded
            self._on_refused(chunk, error, kind)
        elif kind is FailureKind.MALFORMED:
            self._on_malformed(chunk, error)
        elif self._outage.record_failure(error, now):
            self._queue.dissolve(chunk, chunk.items)
            self._end_run(self._outage.final_error(error, now))
        elif kind is FailureKind.RETRY_LATER:
            self._is_throttled = True
            self._controller.back_off(now)
            delay = self._controller.backoff(self._outage.failures)
            self._outage.send_at = max(self._outage.send_at, now + delay)
            self._queue.retry(chunk)
        elif kind is FailureKind.TIMED_OUT and not is_alone:
            self._on_timeout(chunk, error, started, now)
        elif is_alone:
            self._on_unexplained_item(chunk, chunk.items[0], error, now)
        else:
            self._on_unexplained(chunk, error, now)
        if self.fatal_error is None:
            self._report_retry(chunk, error, now)

    def _report_retry(self, chunk: Chunk, error: PrefactorHttpError, now: float) -> None:
        """Report the next request after one that failed, unless its items were given up."""
        outage, operation = self._outage, self._operation
        if not outage.failures:
            return  # the API has refused the request
        due = max(outage.send_at, outage.probe_at if outage.is_down else now)
        # Without a next probe, the items are held and back off.
        due = min(due, now + self._max_outage)
        report_retry(
            Retry(
                operation=operation.name,
                method=operation.method,
                path=operation.path_for(None),
                number=outage.failures,
                max_retries=None,
                reason=retry_reason(error),
                error=describe(error),
                wait_for=max(0.0, due - now),
                waited_so_far=outage.duration(now),
                idempotency_key=None,
                items=len(chunk.items),
            ),
            self._executor.config.on_retry,
        )

    def _deliver(self, outcomes: list[Outcome]) -> None:
        self._on_outcomes(outcomes)
        if installed.observer is not None:
            name = self._operation.name
            installed.observer.on_items(name, Counter(outcome.state.value for outcome in outcomes))
            installed.observer.on_items_in_flight(name, -len(outcomes))

    def _on_refused(self, chunk: Chunk, error: PrefactorHttpError, kind: FailureKind) -> None:
        """Find the item that a request was refused for."""
        if len(chunk.items) == 1:
            item, own = chunk.items[0], chunk.items[0].copy_error(error)
            is_held = isinstance(own, PrefactorApiError) and self._on_refusal(
                item, own, None, is_whole=True
            )
            self._queue.dissolve(chunk, held=[item] if is_held else [])
        elif kind is FailureKind.TOO_LARGE:
            self._controller.record_too_large(len(chunk.body))
            self._queue.dissolve(chunk, chunk.items)
        else:
            self._queue.split(chunk, is_part=False)

    def _on_malformed(self, chunk: Chunk, error: PrefactorHttpError) -> None:
        """Repeat a request on a new connection, then split it, and finally give up its items."""
        if chunk.failed_at is None:
            chunk.failed_at = self._successes
        chunk.malformed += 1
        if chunk.malformed <= _MAX_MALFORMED:
            chunk.needs_new_connection = True
            self._queue.retry(chunk)
        elif len(chunk.items) > 1 and self._successes > chunk.failed_at:
            chunk.malformed = _MAX_MALFORMED  # each part is sent once before it is split
            self._queue.split(chunk, is_part=False)
        else:
            for item in chunk.items:
                self._resolve_as(item, State.UNKNOWN, item.copy_error(error))
                self._end_run_if(self._limits.record_refusal((type(error),), error))
            self._queue.dissolve(chunk)

    def _on_timeout(
        self, chunk: Chunk, error: PrefactorHttpError, started: float, now: float
    ) -> None:
        """Make requests smaller, or only this one if others of its size have succeeded."""
        is_too_slow = self._controller.record_timeout(started, len(chunk.items))
        if is_too_slow:
            self._queue.dissolve(chunk, chunk.items)
        else:
            for item in chunk.items:
                self._suspect(item, failure_signature(error))
            chunk.failed_at = self._successes
            self._queue.split(chunk, is_part=False)
        self._enter_outage(error, now, is_explained=not is_too_slow)

    def _on_unexplained(self, chunk: Chunk, error: PrefactorHttpError, now: float) -> None:
        """Handle an unexplained failure of a request of several items."""
        is_suspect = chunk.is_part or chunk.failed_at is not None
        others_succeed = chunk.failed_at is not None and self._successes > chunk.failed_at
        nothing_else = is_suspect and self._has_only_suspects(chunk.items)
        signature = self._record_failure(chunk, error)
        if others_succeed or nothing_else or not is_suspect:
            for item in chunk.items:
                self._suspect(item, signature)
        chunk.failed_at = self._successes
        if is_suspect and (others_succeed or nothing_else):
            self._queue.split(chunk, is_part=True)
        else:
            chunk.must_split = is_suspect
            self._queue.retry(chunk)
        if not nothing_else:
            self._enter_outage(error, now, is_explained=is_suspect)

    def _on_unexplained_item(
        self, chunk: Chunk, item: BatchItem, error: PrefactorHttpError, now: float
    ) -> None:
        """Handle an unexplained failure of a request of one item."""
        history = item.history
        nothing_else = self._has_only_suspects(chunk.items)
        is_suspect = nothing_else or self._is_suspect(item)
        # In an outage a failure says nothing about an item, unless there is nothing else to send.
        counts = is_suspect and (self._successes > history.last_failed_at or nothing_else)
        signature = self._record_failure(chunk, error)
        if counts or history.first_failed_at is None:
            self._suspect(item, signature)
        if not is_suspect:
            self._failed_probes.append(chunk)
        elif counts and self._request_rates.is_significant(
            signature, history.same_signature, history.failures
        ):
            self._request_rates.discount(signature)
            history.outcome_unknown |= not _is_definite(error)
            self._resolve_failed(item, item.copy_error(error))
            self._queue.dissolve(chunk)
        else:
            history.failures_alone += 1
            exponent = history.failures_alone
            if self._is_suspect(item):
                exponent = min(exponent, _MAX_SUSPECT_EXPONENT)
            self._queue.dissolve(chunk, held=[item])
            self._held.append((now + self._controller.backoff(exponent), item))
        if not nothing_else:
            self._enter_outage(error, now, is_explained=is_suspect)

    def _record_failure(self, chunk: Chunk, error: PrefactorHttpError) -> Hashable:
        signature = failure_signature(error)
        if self._outage.failures == 1 and not chunk.items[0].failures:
            self._request_rates.record_failure(signature)
        return signature

    # Suspicion, outages and unexpected exceptions

    def _suspect(self, item: BatchItem, signature: Hashable) -> None:
        """Count a failure that may be the item's fault."""
        history = item.history
        history.failures += 1
        history.last_failed_at = self._successes
        history.record_signature(signature)
        if history.first_failed_at is None:
            history.first_failed_at = self._successes

    def _is_suspect(self, item: BatchItem) -> bool:
        """Whether another request has succeeded since the item's first failure."""
        history = item.history_or_none
        failed_at = None if history is None else history.first_failed_at
        return failed_at is not None and self._successes > failed_at

    def _has_only_suspects(self, items: list[BatchItem]) -> bool:
        """Whether nothing can be sent but these items and others that have failed before.

        Then no success can distinguish them from an outage. Either all of them are suspects, or
        they are the last few items of a run in which others have succeeded.
        """
        are_last = self.pending <= _MAX_LAST_ITEMS and self._successes > 0
        in_flight = (item for chunk in self._in_flight.values() for item in chunk.items)
        probes = (item for chunk in self._failed_probes for item in chunk.items)
        held = (item for _, item in self._held)
        return all(
            self._is_suspect(item) or (are_last and item.failures > 0)
            for item in itertools.chain(
                items, held, probes, in_flight, self._queue.sendable, self._reconciling.values()
            )
        )

    def _enter_outage(self, error: PrefactorHttpError, now: float, *, is_explained: bool) -> None:
        if is_explained and not self._outage.is_down and self._queue.has_part:
            return  # the other part of the request has not been sent yet: it is the probe
        self._outage.enter(error, now, is_explained=is_explained)

    def _end_outage(self) -> None:
        self._outage.end()
        while self._failed_probes:
            self._queue.retry(self._failed_probes.popleft())

    # Outcomes

    def _resolve_as(
        self, item: BatchItem, state: State, error: Exception, raw: bytes | None = None
    ) -> None:
        self._resolve(item, item.outcome(state, error, raw))

    def _resolve(self, item: BatchItem, outcome: Outcome) -> None:
        """Report the outcome of one item, and apply what follows from it."""
        item.history.has_outcome = True
        self.pending -= 1
        self._deliver([outcome])
        if self.fatal_error is None and not outcome.ok:
            self._queue.block_group(item.group, is_certain=outcome.failed)
        if outcome.failed and self.fatal_error is None:
            self._end_run_if(self._limits.record_failure(outcome.error))

    def _resolve_unsendable(self) -> None:
        unsendable, self._queue.unsendable = self._queue.unsendable, []
        for item in unsendable:
            if item.error is not None:
                self._resolve_as(item, State.FAILED, item.error)
                continue
            state, text = State.BLOCKED, "not sent: an earlier item of its group did not succeed"
            if item.history.outcome_unknown and not self._queue.is_certain(item.group):
                state = State.UNKNOWN
                text = "not sent again: an earlier item of its group did not succeed"
            item.history.outcome_unknown = state is State.UNKNOWN
            self._resolve_as(item, state, item.describe(PrefactorClientError(text)))

    # The end of a run

    def _end_run_if(self, error: PrefactorHttpError | None) -> None:
        if error is not None:
            self._end_run(error)

    def _end_run(self, error: PrefactorHttpError) -> None:
        """Send nothing more. Requests in flight may complete."""
        if self.fatal_error is None:
            self.fatal_error = error
        self._resolve_remaining()

    def _resolve_remaining(self) -> None:
        """Report the outcomes of all items that wait when the run ends."""
        self._resolve_unsendable()
        remaining = [item for chunk in self._failed_probes for item in chunk.items]
        remaining += [*(item for _, item in self._held), *self._queue.drain()]
        self._failed_probes.clear()
        self._held.clear()
        for item in remaining:
            self._resolve_unsent(item)

    def _resolve_unsent(self, item: BatchItem) -> None:
        assert self.fatal_error is not None  # noqa: S101 # checked by the callers
        if item.history.outcome_unknown:
            self._resolve_as(item, State.UNKNOWN, item.copy_error(self.fatal_error))
        else:
            unsent = PrefactorClientError(f"not sent: {self.fatal_error}")
            self._resolve_as(item, State.FAILED, item.error or item.describe(unsent))

    def _on_crash(self, items: Iterable[BatchItem], exc: BaseException) -> None:
        """Handle an exception of this package's code, or of an object of the caller's."""
        self.fail(exc)
        for item in items:
            if not item.history.has_outcome:
                item.history.outcome_unknown = True
                self._resolve_unsent(item)


def _cancelled() -> PrefactorHttpError:
    """Build the error of a request whose task somebody cancelled."""
    return PrefactorClientError("the request was cancelled")


def _is_definite(error: PrefactorHttpError) -> bool:
    """Whether the API itself reports that the item was not applied."""
    return (
        isinstance(error, PrefactorApiError)
        and error.from_api
        and error.status_code < _SERVER_ERROR
    )


def _outcome_of(success: Success) -> Outcome:
    item, result, raw = success
    return Outcome(
        index=item.index,
        idempotency_key=item.key,
        type=item.type,
        state=State.OK,
        instance=result if isinstance(result, AgentInstance) else None,
        raw=raw,
    )
