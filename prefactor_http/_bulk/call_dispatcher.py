"""Resolves calls that share bulk requests: results, refusals and requests that fail as a whole.

Each call ends as its direct call would: the same result, or the same error with the call's key and
number of attempts. A request that fails as a whole is retried by the rules of direct calls
(`_http.retry_decisions`), and a call fails when its retries are exhausted. If other requests have
succeeded in the meantime, one of the calls may be the cause (a *poison* call). Then the request is
split so that each call's last attempt is made alone. An outage does not split requests.

A refusal of a whole request is divided by the type of its calls, then into halves. If all parts
are accepted, the API has a limit of items. A call that is refused alone is made directly: perhaps
the API does not know its type in bulk requests.
"""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, cast

from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.call import Call, Lane, calls_of, lane_of
from prefactor_http._bulk.chunk_result import Success
from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._bulk.dispatcher import Dispatcher
from prefactor_http._bulk.failure import FailureKind, kind_of
from prefactor_http._bulk.operation import BATCHED, BatchResponse
from prefactor_http._bulk.outcome import State
from prefactor_http._bulk.output import may_follow_own_success
from prefactor_http._bulk.queue import BatchQueue, Chunk, RefusedRequest
from prefactor_http._http.codec import PreparedRequest, describe
from prefactor_http._http.errors import build_error
from prefactor_http._http.executor import Executor
from prefactor_http._http.observer import installed
from prefactor_http._http.reporting import LOG, report_retry, retry_reason
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http._http.retry_budget import retry_cost
from prefactor_http._http.retry_decisions import (
    BUDGET_EXHAUSTED,
    DEADLINE_TOO_EARLY,
    RETRY_AFTER_TOO_LONG,
    is_retry_after_too_long,
    retry_delay,
    should_retry,
)
from prefactor_http.config import HttpClientConfig
from prefactor_http.events import Retry as RetryEvent
from prefactor_http.exceptions import PrefactorApiError, PrefactorClientError, PrefactorHttpError

_BAD_REQUEST = "bad_request"
_OK = 200  # status of an item's error whose code is unknown, see `output`
INTERRUPTED = "the client was closed during the call"


class CallDispatcher(Dispatcher):
    """Resolves calls.

    Args:
        executor: Sends the requests, and the reads that verify unknown outcomes.
        controller: Adapts the number and the size of requests.
        max_items: Maximum number of calls in a request.
    """

    def __init__(
        self, executor: Executor, controller: ConcurrencyController, max_items: int
    ) -> None:
        super().__init__(executor, controller, BatchQueue(blocks_groups=False))
        self._state = executor.state
        self._item_limit = max_items
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0  # calls without a result
        self._idle: asyncio.Future[None] | None = None

    @abstractmethod
    def _schedule(self) -> None:
        """Send soon what may be sent."""

    @abstractmethod
    def _count_waiting(self, lane: Lane) -> None:
        """Note that a call waits, and send soon what may be sent."""

    def _start_task(self, work: Coroutine[Any, Any, None], chunk: Chunk) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_task_done, chunk))

    def _on_task_done(self, chunk: Chunk, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._fail_all(chunk, PrefactorClientError(INTERRUPTED))
        elif (exc := task.exception()) is not None:  # each call ends, whatever happens
            for call in calls_of(chunk):
                call.history.outcome_unknown = True
            self._fail_all(chunk, self._unexpected(exc))
        self._schedule()

    # Results

    def _may_repeat(self, item: BatchItem) -> bool:
        return lane_of(item).config.max_retries > 0

    def _succeed(self, successes: list[Success]) -> None:
        resolved = 0
        for item, result, _ in successes:
            call = cast("Call", item)
            if call.spent:
                self._refund(call)
            if call.turn.done():
                # Cancelled, but its task has not run since: it must not say "not applied".
                call.prepared.outcome_unknown = True
                self._leave(call)
            else:
                call.turn.set_result(result)
                resolved += 1
        self._on_resolved(resolved)
        self._observe_items("ok", len(successes))

    def _resolve_verified(self, item: BatchItem, result: object) -> None:
        self._succeed([(item, result, None)])

    def _resolve_as(
        self,
        item: BatchItem,
        state: State,
        error: Exception,
        raw: bytes | None = None,  # noqa: ARG002 # only jobs report it
    ) -> None:
        assert isinstance(item, Call)  # noqa: S101 # only calls are added
        assert isinstance(error, PrefactorHttpError)  # noqa: S101 # see the callers
        if item.turn.done():
            self._leave(item)
            return
        item.prepared.outcome_unknown = item.history.outcome_unknown
        own = build_error(item.prepared, error, is_exhausted=item.is_exhausted)
        item.turn.set_exception(own.with_traceback(None))
        self._on_resolved()
        self._observe_items(state.value, 1)

    def _observe_items(self, state: str, count: int) -> None:
        if installed.observer is not None and count:
            installed.observer.on_items(BATCHED.name, Counter({state: count}))

    def _on_resolved(self, calls: int = 1) -> None:
        self._pending -= calls
        if not self._pending:
            self._on_idle()

    def _on_idle(self) -> None:
        """Note that no call is pending."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _on_requeued(self, items: list[BatchItem]) -> None:
        for call in items:
            self._count_waiting(lane_of(call))

    def _on_reconciled(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 # called by `_reconcile`
        del self._reconciling[task]
        self._schedule()

    # Calls that are cancelled

    def _leave(self, call: Call) -> None:
        """Resolve a call if its task was cancelled. The queue drops it later."""
        if call.error is None and call.turn.cancelled():
            call.error = PrefactorClientError("cancelled")
            call.shared = b""
            self._refund(call)
            self._on_resolved()

    def _drop_cancelled(self, chunk: Chunk) -> bool:
        """Remove cancelled calls from a request. Returns whether any are left."""
        for call in calls_of(chunk):
            self._leave(call)
        self._queue.keep(chunk, [call for call in calls_of(chunk) if call.error is None])
        if not chunk.items:
            self._state.budget.deposit(chunk.spent)
        return bool(chunk.items)

    # Errors of single calls

    def _refund(self, call: Call) -> None:
        """Return what the call's retries have cost, because the API has answered in the end."""
        self._state.budget.deposit(call.spent)
        call.spent = 0

    def _on_refusal(
        self,
        item: BatchItem,
        error: PrefactorApiError,
        raw: bytes | None,
        *,
        is_whole: bool,
    ) -> bool:
        self._refund(cast("Call", item))
        return super()._on_refusal(item, error, raw, is_whole=is_whole)

    def _is_transient(self, item: BatchItem, error: PrefactorApiError) -> bool:
        return super()._is_transient(item, error) or (
            error.status_code in lane_of(item).config.retry_on_status_codes
        )

    def _changes_route(self, item: BatchItem, error: PrefactorApiError) -> bool:
        """Whether to make a refused call directly, because /bulk may not know its type."""
        is_suspect = error.code == _BAD_REQUEST or error.status_code == _OK
        history = item.history
        if not is_suspect or (history.outcome_unknown and may_follow_own_success(item.type, error)):
            return False
        # An earlier request has not applied it either: it would have been answered as a repeat.
        assert isinstance(item, Call)  # noqa: S101 # only calls are added
        self._send_alone(item)
        return True

    def _send_alone(self, call: Call) -> None:
        """Make a call directly that /bulk has refused without applying it."""
        call.is_direct, call.was_refused = None, True
        call.lane = call.own_lanes[1]

    def _on_transient_error(
        self, item: BatchItem, error: PrefactorApiError, raw: bytes, now: float
    ) -> bool:
        assert isinstance(item, Call)  # noqa: S101 # only calls are added
        config = item.own_lanes[0].config
        history = item.history
        history.rejections += 1
        unknown = WriteStatus.UNKNOWN if error.outcome_unknown else WriteStatus.ANSWERED
        failure = Failure(error, unknown, status=error.status_code)
        delay = retry_delay(failure, history.rejections - 1, config, has_reconnected=True)
        retries = history.rejections + item.failures
        if not should_retry(item.prepared, failure, config):
            self._refund(item)
            note = None
        elif retries > config.max_retries:
            item.is_exhausted, note = config.max_retries > 0, None
        elif now + delay >= (item.prepared.expires_at or math.inf):
            note = DEADLINE_TOO_EARLY
        elif not self._state.budget.withdraw(cost := retry_cost(failure)):
            error.retry_budget_exhausted, note = True, BUDGET_EXHAUSTED
        else:
            item.spent += cost
            groups = {item.group} - {None}
            self._start_task(self._resume_after(item, delay), Chunk([item], groups))
            return True
        if note is not None:
            error.add_note(note)
        self._resolve_failed(item, item.describe(error), raw)
        return False

    async def _resume_after(self, call: Call, delay: float) -> None:
        await self._state.sleep(delay)
        self._queue.resume(call)
        self._count_waiting(lane_of(call))

    # Requests that fail as a whole

    async def _on_failure(
        self,
        chunk: Chunk,
        failure: Failure,
        bulk: PreparedRequest[BatchResponse],
        config: HttpClientConfig,
    ) -> None:
        is_unknown = failure.write_status is WriteStatus.UNKNOWN
        failure.error.outcome_unknown = is_unknown
        for call in calls_of(chunk):
            call.history.outcome_unknown |= is_unknown
        if not self._drop_cancelled(chunk):
            return
        # What a suspect connection delivers may be the response to another request.
        kind = FailureKind.MALFORMED if failure.contradicts else kind_of(failure.error)
        if kind is FailureKind.TOO_LARGE and len(chunk.items) > 1:
            self._controller.record_too_large(len(bulk.body or b""))
            self._requeue(chunk)
        elif kind is FailureKind.REFUSED or kind is FailureKind.TOO_LARGE:
            self._on_refused(chunk, failure)
        else:
            await self._on_failed(chunk, failure, bulk, config, kind)

    def _requeue(self, chunk: Chunk) -> None:
        self._queue.dissolve(chunk, chunk.items)
        self._on_requeued(chunk.items)

    def _on_refused(self, chunk: Chunk, failure: Failure) -> None:
        """Find the call, or the type of call, that a request was refused for."""
        self._state.budget.deposit(chunk.spent)
        chunk.spent = 0
        calls = calls_of(chunk)
        if len(calls) > 1:
            refused = chunk.refused or RefusedRequest()
            chunk.refused = refused
            is_mixed = len({call.type for call in calls}) > 1
            choose = _first_type if is_mixed else _first(math.ceil(len(calls) / 2))
            refused.parts += len(self._divide(chunk, choose)) - 1
            return
        [call] = calls
        error = failure.error
        assert isinstance(error, PrefactorApiError)  # noqa: S101 # see `kind_of`
        if call.history.outcome_unknown:
            is_held = self._on_refusal(call, call.copy_error(error), None, is_whole=True)
            self._queue.dissolve(chunk, held=[call] if is_held else [])
        else:
            self._send_alone(call)
            self._requeue(chunk)

    def _on_accepted(self, chunk: Chunk) -> None:
        """Learn a limit of items: all parts of a refused request were accepted."""
        refused = chunk.refused
        if refused is None:
            return
        refused.parts -= 1
        refused.accepted = max(refused.accepted, len(chunk.items))
        if not refused.parts and refused.accepted < self._item_limit:
            self._item_limit = refused.accepted
            LOG.info("%s: requests contain up to %d calls now", BATCHED.name, refused.accepted)

    async def _on_failed(
        self,
        chunk: Chunk,
        failure: Failure,
        bulk: PreparedRequest[BatchResponse],
        config: HttpClientConfig,
        kind: FailureKind,
    ) -> None:
        """Retry a request, or fail its calls, by the rules of direct calls."""
        is_malformed = kind is FailureKind.MALFORMED and not chunk.malformed
        chunk.malformed += kind is FailureKind.MALFORMED
        self._controller.back_off(self._clock.monotonic())
        if kind is FailureKind.TIMED_OUT:
            self._controller.record_timeout(bulk.sent_at, len(chunk.items))
        if chunk.failed_at is None:
            chunk.failed_at = self._successes
        if not (is_malformed or should_retry(bulk, failure, config)):
            self._state.budget.deposit(chunk.spent)  # the API has answered, if only with an error
            self._fail_all(chunk, failure.error)
            return
        chunk.failures += 1
        delay = 0.0
        if not is_malformed:
            delay = retry_delay(
                failure, chunk.failures - 1, config, has_reconnected=chunk.has_reconnected
            )
        chunk.has_reconnected |= failure.disconnected
        chunk.needs_new_connection = is_malformed
        for call in calls_of(chunk):
            call.history.failures += 1
        self._fail_some(
            chunk,
            failure.error,
            lambda call: call.failures > config.max_retries,
            is_exhausted=config.max_retries > 0 and not (failure.lost or is_malformed),
        )
        if is_retry_after_too_long(failure, config):
            self._fail_all(chunk, failure.error, RETRY_AFTER_TOO_LONG)
            return
        ends_at = self._clock.monotonic() + delay
        self._fail_some(
            chunk,
            failure.error,
            lambda call: (call.prepared.expires_at or math.inf) <= ends_at,
            note=DEADLINE_TOO_EARLY,
        )
        if not chunk.items:
            return
        cost = retry_cost(failure)
        if not self._state.budget.withdraw(cost):
            failure.error.retry_budget_exhausted = True
            self._fail_all(chunk, failure.error, BUDGET_EXHAUSTED)
            return
        chunk.spent += cost
        self._report_retry(bulk, failure, chunk, delay, config)
        self._schedule()  # other calls do not wait for this retry
        await self._state.sleep(delay)
        self._retry_chunk(chunk, config)

    def _report_retry(
        self,
        bulk: PreparedRequest[BatchResponse],
        failure: Failure,
        chunk: Chunk,
        delay: float,
        config: HttpClientConfig,
    ) -> None:
        report_retry(
            RetryEvent(
                operation=bulk.operation.name,
                method=bulk.operation.method,
                path=bulk.path,
                number=chunk.failures,
                max_retries=config.max_retries,
                reason=retry_reason(failure.error),
                error=describe(failure.error),
                wait_for=delay,
                waited_so_far=chunk.waited,
                idempotency_key=None,
                items=len(chunk.items),
            ),
            config.on_retry,
        )
        chunk.waited += delay

    def _retry_chunk(self, chunk: Chunk, config: HttpClientConfig) -> None:
        """Send a request again, in parts if one of its calls may be at fault."""
        if not self._drop_cancelled(chunk):
            return
        size = len(chunk.items)
        if size > 1 and self._successes > (chunk.failed_at or 0):
            # The last attempt of each call is made alone.
            left = config.max_retries + 1 - max(c.failures for c in calls_of(chunk))
            size = max(1, round(size ** ((left - 1) / left)))
        if size < len(chunk.items):
            spent, chunk.spent = chunk.spent, 0
            self._divide(chunk, _first(size))[0].spent = spent
        else:
            self._queue.retry(chunk)

    def _divide(
        self, chunk: Chunk, choose: Callable[[list[BatchItem]], list[BatchItem]]
    ) -> list[Chunk]:
        """Replace a request by several; see `BatchQueue.divide`."""
        calls = calls_of(chunk)
        parts = self._queue.divide(chunk, choose)
        divided = {call.key for part in parts for call in calls_of(part)}
        for call in calls:
            if call.key not in divided:  # behind another call of its group
                self._count_waiting(lane_of(call))
        return parts

    def _fail_some(
        self,
        chunk: Chunk,
        error: PrefactorHttpError,
        condition: Callable[[Call], bool],
        *,
        is_exhausted: bool = False,
        note: str | None = None,
    ) -> None:
        failed = [call for call in calls_of(chunk) if condition(call)]
        if not failed:
            return
        self._queue.keep(chunk, [call for call in calls_of(chunk) if not condition(call)])
        for call in failed:
            call.is_exhausted = is_exhausted
            own = call.copy_error(error)
            if note is not None:
                own.add_note(note)
            self._resolve_failed(call, own)

    def _fail_all(self, chunk: Chunk, error: PrefactorHttpError, note: str | None = None) -> None:
        self._fail_some(chunk, error, lambda _: True, note=note)


def _first(number: int) -> Callable[[list[BatchItem]], list[BatchItem]]:
    return lambda items: items[:number]


def _first_type(items: list[BatchItem]) -> list[BatchItem]:
    """Choose the items of the first one's type that no other type precedes in their groups."""
    chosen: list[BatchItem] = []
    others: set[Hashable] = set()
    for item in items:
        if item.type == items[0].type and (item.group is None or item.group not in others):
            chosen.append(item)
        else:
            others.add(item.group)
    return chosen
