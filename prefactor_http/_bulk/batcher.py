"""Automatic batching: calls that wait at the same time share a bulk request (contract §9).

A call joins the queue, and its task waits for its turn. When the turn comes, the call is either
sent in a bulk request with others, and its task gets the result; or it is alone, and its task makes
the direct call, as if there were no batching.

*When to send.* While nothing is in flight, whatever waits is sent in the next iteration of the
event loop, so that tasks that were woken together can make their calls. Then one request is in
flight, and the calls made meanwhile share the next one. Another request starts earlier if a full
one waits, or if the one in flight takes longer than responses usually do. "Send whenever a
connection is free" would make many small requests. `latency` chooses the size of a request.

*Route.* It is not documented whether a direct call and a bulk request with the same idempotency key
are recognised as repeats of each other. So a call keeps its first route, direct or bulk, for all
attempts. Only a refusal that proves that it was not applied may change the route: a call whose type
the API does not know in bulk requests is made directly.

*Order.* Calls on one instance are sent in the order in which they were made, and are never in two
requests at once. A call that fails does not block later ones.

*Failures.* A request that fails as a whole is retried by the rules of a direct call
(`_http.retry_decisions`); a call fails when its retries are exhausted. If other requests have
succeeded in the meantime, one of the calls may be the cause (a *poison* call). Then the request is
split so that each call's last attempt is made alone. An outage does not split requests.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, TypeVar, Unpack, cast
from weakref import WeakValueDictionary

from msgspec import Struct

from prefactor_http import _api
from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.chunk_result import Success, match_outputs
from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._bulk.dispatcher import Dispatcher
from prefactor_http._bulk.failure import FailureKind, kind_of
from prefactor_http._bulk.latency import LatencyModel
from prefactor_http._bulk.operation import BATCHED, BATCHED_REGISTERS, BatchResponse
from prefactor_http._bulk.options import BatchOptions
from prefactor_http._bulk.outcome import State
from prefactor_http._bulk.output import may_follow_own_success
from prefactor_http._bulk.queue import BatchQueue, Chunk, RefusedRequest
from prefactor_http._http.captured_response import CapturedCall, captures_of
from prefactor_http._http.codec import PreparedRequest, describe
from prefactor_http._http.encoding import encode_json
from prefactor_http._http.errors import annotate_cancellation, build_error
from prefactor_http._http.executor import Executor
from prefactor_http._http.identity import names_in
from prefactor_http._http.observer import installed
from prefactor_http._http.reporting import LOG, report_retry, retry_reason
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http._http.retry import Retry
from prefactor_http._http.retry_budget import retry_cost
from prefactor_http._http.retry_decisions import (
    BUDGET_EXHAUSTED,
    DEADLINE_TOO_EARLY,
    RETRY_AFTER_TOO_LONG,
    is_retry_after_too_long,
    retry_delay,
    should_retry,
)
from prefactor_http._http.state import CLOSED, ClientState
from prefactor_http.config import HttpClientConfig, Options
from prefactor_http.events import Retry as RetryEvent
from prefactor_http.exceptions import PrefactorApiError, PrefactorClientError, PrefactorHttpError
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK

T = TypeVar("T")

_BAD_REQUEST = "bad_request"
_OK = 200  # status of an item's error whose code is unknown, see `output`
# After so many calls that nobody joined, a call does not wait for others.
_MIN_CALLS_ALONE = 3
_REGISTERS = {_api.REGISTER.bulk}
_INTERRUPTED = "the client was closed during the call"


class BatchBounds(Struct, frozen=True, kw_only=True):
    """Bounds of automatic batching; see `PrefactorHttpClient.batched`.

    Raises:
        TypeError: A bound is not a number.
        ValueError: A bound is out of range.
    """

    max_items: int = 100
    max_bytes: int = 1_000_000
    concurrency: int = 8
    linger: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_items", "max_bytes", "concurrency"):
            value: object = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        linger: object = self.linger
        if isinstance(linger, bool) or not isinstance(linger, int | float):
            raise TypeError(f"linger must be a number of seconds, not {type(linger).__name__}")
        if not 0 <= linger < math.inf:
            raise ValueError(f"linger must be 0 or more seconds, got {linger}")


class Lane:
    """Calls with the same options. Only they share requests.

    Args:
        config: Their options.
        retry: Sends their bulk requests.
        sends_alone: Whether each call is sent alone, directly.
    """

    def __init__(self, config: HttpClientConfig, retry: Retry, *, sends_alone: bool) -> None:
        self.config = config
        self.retry = retry
        self.sends_alone = sends_alone
        self.waiting = 0  # calls
        self.requests = 0  # in flight
        self.calls = 0  # in flight
        self.sent_at = -math.inf
        self.sent_size = 1
        self.next_full = 0  # number of waiting calls from which a full request is looked for


class Call(BatchItem, eq=False, kw_only=True):
    """A call that waits for its turn or for its result.

    Attributes:
        prepared: The call.
        turn: Resolved with the result of the call, or with `Batcher.ALONE`.
        own_lane: The lane of the call's options.
        is_direct: Whether it is made directly now; False after its first attempt in a bulk request.
        was_refused: Whether /bulk has refused the call, so that it is made directly.
        failed_requests: Requests that contained the call and failed as a whole.
        is_exhausted: Whether it failed because no retry was left.
    """

    prepared: PreparedRequest[Any]
    turn: asyncio.Future[Any]
    own_lane: Lane
    is_direct: bool | None = None
    was_refused: bool = False
    failed_requests: int = 0
    is_exhausted: bool = False

    def describe(self, error: Any) -> Any:
        """Leave the error as it is: `build_error` describes the call in it."""
        notes = getattr(error, "__notes__", None)
        if notes is not None:
            error.__notes__ = [*notes]  # copies share the list
        return error


class Batcher(Dispatcher):
    """Groups the calls of a client, or of one of its views.

    Args:
        executor: Sends requests and reads.
        bounds: Bounds of requests.
    """

    ALONE = object()

    def __init__(self, executor: Executor, bounds: BatchBounds) -> None:
        self._executor = executor
        self._state: ClientState = executor.state
        self._bounds = bounds
        self.is_closed = False
        self._direct_types: set[str] = set()
        self._heads: dict[str, bytes] = {}
        self._lanes: WeakValueDictionary[Hashable, Lane] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._reset()

    def _reset(self) -> None:
        config = self._executor.config
        bounds = self._bounds
        options = BatchOptions(
            chunk_size=bounds.max_items,
            max_chunk_bytes=bounds.max_bytes,
            concurrency=bounds.concurrency,
        )
        super().__init__(
            self._executor, ConcurrencyController(options, config), BatchQueue(blocks_groups=False)
        )
        self._latency = LatencyModel(
            config.request_timeout, bounds.concurrency, config.max_connections
        )
        self._waiting_lanes: dict[Lane, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls_alone = 0  # how many calls in a row were alone
        self._lone: tuple[PreparedRequest[Any], tuple[Lane, Lane]] | None = None
        self._adopted: Call | None = None
        self._pending = 0  # calls without a result
        self._is_draining = False
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._item_limit = bounds.max_items
        self._requests = 0  # in flight

    # Joining and leaving

    def lanes_for(self, config: HttpClientConfig) -> tuple[Lane, Lane]:
        """Return the lane of a configuration's calls, and of those that are sent alone."""
        options = (
            config.request_timeout,
            config.max_retries,
            config.initial_retry_delay,
            config.max_retry_delay,
            config.retry_multiplier,
            config.retry_on_status_codes,
            config.on_attempt,
            config.on_retry,
        )
        found: list[Lane] = []
        for sends_alone in (False, True):
            key = (options, sends_alone)
            lane = self._lanes.get(key)
            if lane is None:
                retry = Retry(config, self._state)
                lane = self._lanes[key] = Lane(config, retry, sends_alone=sends_alone)
            found.append(lane)
        return found[0], found[1]

    def submit(self, prepared: PreparedRequest[Any], lanes: tuple[Lane, Lane]) -> Call:
        """Add a call to the queue.

        Raises:
            PrefactorClientError: The batching view is closed.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._reset()
            self._loop = loop
            self._state.batchers[self] = None
        if self.is_closed or self._is_draining:
            raise PrefactorClientError(CLOSED)
        if self._lone is not None:
            self._adopt_lone()
        call = self._new_call(prepared, lanes, loop)
        self._calls_alone = 0 if self._pending > 1 else self._calls_alone + 1
        self._queue.append(call)
        self._count_waiting(_lane_of(call))
        return call

    def _new_call(
        self,
        prepared: PreparedRequest[Any],
        lanes: tuple[Lane, Lane],
        loop: asyncio.AbstractEventLoop,
    ) -> Call:
        operation, resource_id = prepared.operation, prepared.resource_id
        # Every batchable call has a type and a key.
        type_: Any = operation.bulk
        key: Any = prepared.key
        head = self._heads.get(type_)
        if head is None:
            head = self._heads[type_] = b'{"_type":%b,' % encode_json(type_)
        id_: str | None
        group: str | None
        name = instance_id = None
        if resource_id is not None:
            # The item has the id that the direct call has in its path.
            field: Any = operation.path_field
            head = b'%b"%b":%b,' % (head, field.encode(), encode_json(resource_id))
            id_ = group = resource_id
            if field == "agent_span_id":
                group = self._span_instances.get(resource_id) or resource_id
        else:
            id_, name, instance_id = names_in(prepared.request)
            group = instance_id or id_
            if instance_id is not None and id_ is not None:
                # So that its finish waits behind it.
                self._span_instances.remember(id_, instance_id)
        body = prepared.body or b""
        prepared.body = None
        self._pending += 1
        return Call(
            0,
            key,
            type_,
            head,
            body[1:],
            group,
            None,
            id_,
            name,
            instance_id,
            lanes[len(key) < MIN_LENGTH_IN_BULK or type_ in self._direct_types],
            prepared=prepared,
            turn=loop.create_future(),
            own_lane=lanes[0],
        )

    # A call that nobody joins. Nothing is noted of it but that it is there.

    def begin_lone(self, prepared: PreparedRequest[Any], lanes: tuple[Lane, Lane]) -> bool:
        """Whether a call need not wait for others, because the last calls were alone, too.

        If so, call `end_lone` after it.
        """
        if (
            self._calls_alone < _MIN_CALLS_ALONE
            or self._pending
            or self._lone is not None
            or self._bounds.linger
            or self.is_closed
            or self._loop is not asyncio.get_running_loop()
        ):
            return False
        self._lone = prepared, lanes
        return True

    def end_lone(self) -> None:
        call = self._adopted
        if call is None:
            self._lone = None
        else:
            self._adopted = None
            self.finish_alone(call, is_ok=False)

    def _adopt_lone(self) -> None:
        """Make a note of the lone call, now that it is not alone."""
        if self._lone is None or self._loop is None:
            return
        prepared, lanes = self._lone
        self._lone = None
        body = prepared.body
        call = self._adopted = self._new_call(prepared, lanes, self._loop)
        prepared.body, call.shared = body, b""
        call.is_direct = True
        self._queue.occupy(call.group)
        lane = _lane_of(call)
        lane.sent_at, lane.sent_size = self._clock.monotonic(), 1
        self._count_request(lane, 1)

    def _head_of(self, prepared: PreparedRequest[Any]) -> bytes:
        """Return the begin of the item: what the body of the direct call does not contain."""
        type_, resource_id = str(prepared.operation.bulk), prepared.resource_id
        head = self._heads.get(type_)
        if head is None:
            head = self._heads[type_] = b'{"_type":%b,' % encode_json(type_)
        if resource_id is None:
            return head
        field = str(prepared.operation.path_field).encode()
        return b'%b"%b":%b,' % (head, field, encode_json(resource_id))

    def _count_waiting(self, lane: Lane) -> None:
        lane.waiting += 1
        if self._is_scheduled:
            return
        self._waiting_lanes[lane] = None
        if not lane.requests or lane.sends_alone:
            self._schedule(linger=not lane.sends_alone and lane.waiting < self._item_limit)
        elif lane.waiting >= lane.next_full:
            self._schedule()

    def abandon(self, call: Call) -> None:
        """Remove a call whose task was cancelled. If it is in flight, the others are not affected.

        Sets what is known of the call in `Call.prepared`.
        """
        prepared, history = call.prepared, call.history_or_none
        if history is not None:
            prepared.attempts = history.attempts
            prepared.outcome_unknown |= history.outcome_unknown
        if call.is_direct:  # its turn had just come
            self.finish_alone(call, is_ok=False)
        elif prepared.in_flight:
            prepared.attempts += 1
        elif call.turn.cancelled():
            self._leave(call)
        else:  # its result had just arrived
            prepared.attempts = max(1, prepared.attempts)
            prepared.outcome_unknown = True

    def _leave(self, call: Call) -> None:
        """Resolve a call whose task was cancelled. The queue drops it later."""
        if call.error is None:
            call.error = PrefactorClientError("cancelled")
            call.shared = b""
            self._on_resolved()

    def _drop_cancelled(self, chunk: Chunk) -> bool:
        """Remove cancelled calls from a request. Returns whether any are left."""
        for call in _calls(chunk):
            if call.turn.cancelled():
                self._leave(call)
        self._keep(chunk, [call for call in _calls(chunk) if call.error is None])
        return bool(chunk.items)

    def _keep(self, chunk: Chunk, calls: list[Call]) -> None:
        """Remove all other calls from a request, and free their groups."""
        chunk.items = [*calls]
        left = {call.group for call in calls}
        for group in [group for group in chunk.groups if group not in left]:
            chunk.groups.discard(group)
            self._queue.release_group(group)

    # Choosing what is sent next

    def _schedule(self, *, linger: bool = False) -> None:
        if self._is_scheduled or self._loop is None:
            return
        if linger and self._bounds.linger and not self._is_draining:
            if self._linger is None:
                self._linger = self._loop.call_later(
                    self._bounds.linger, self._end_linger, context=self._context
                )
            return
        self._is_scheduled = True
        # In an empty context: a request belongs to none of its calls.
        self._loop.call_soon(self._advance, context=self._context)

    def _end_linger(self) -> None:
        self._linger = None
        self._advance()

    def _advance(self) -> None:
        """Send what may be sent now."""
        self._is_scheduled = False
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        now = self._clock.monotonic()
        while self._requests < self._controller.limit or self._is_draining:
            chunk = self._queue.next_retry()
            if chunk is None:
                break
            if self._drop_cancelled(chunk):
                self._start(chunk, now)
        for lane in [*self._waiting_lanes]:
            self._advance_lane(lane, now)
            if not lane.waiting:
                del self._waiting_lanes[lane]
        self._set_timer(now)

    def _advance_lane(self, lane: Lane, now: float) -> None:
        while lane.waiting:
            size, is_free = self._next_size(lane, now)
            if not is_free and lane.waiting < size:
                lane.next_full = size
                return
            if not is_free and lane.requests >= self._controller.limit:
                lane.next_full = lane.waiting + 1
                return
            chunk = self._queue.next_chunk(
                size, self._controller.max_bytes, only_full=not is_free, lane=lane
            )
            for item in self._queue.unsendable:
                _lane_of(item).waiting -= 1
            self._queue.unsendable.clear()
            if chunk is None:
                # Behind busy groups. Do not look again for each call.
                lane.next_full = lane.waiting + size
                return
            lane.waiting -= len(chunk.items)
            if self._drop_cancelled(chunk):
                self._start(chunk, now)
        lane.next_full = 1

    def _next_size(self, lane: Lane, now: float) -> tuple[int, bool]:
        """Return the size of the next request, and whether it may be smaller."""
        if lane.sends_alone:
            return 1, True
        latency = self._latency
        size = latency.max_size(lane.waiting + lane.calls)
        if size == 1:
            return (latency.TRIAL_SIZE if latency.is_trial_due(lane.waiting, now) else 1), True
        is_free = (
            not lane.requests
            or self._is_draining
            or now - lane.sent_at >= latency.usual_maximum(lane.sent_size)
        )
        return min(size, self._item_limit, self._controller.max_items), is_free

    def _set_timer(self, now: float) -> None:
        """Wake up when the request in flight takes longer than usual and others wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = min(
            (
                lane.sent_at + self._latency.usual_maximum(lane.sent_size)
                for lane in self._waiting_lanes
                if lane.requests and lane.requests < self._controller.limit
            ),
            default=None,
        )
        if due is not None and due > now and self._loop is not None:
            self._timer = self._loop.call_later(due - now, self._schedule, context=self._context)

    # Sending

    def _start(self, chunk: Chunk, now: float) -> None:
        calls = _calls(chunk)
        lane = _lane_of(calls[0])
        lane.sent_at, lane.sent_size = now, len(calls)
        self._count_request(lane, len(calls))
        first = calls[0]
        if len(calls) == 1 and first.is_direct is not False:
            first.prepared.body, first.shared = b"{" + first.shared, b""
            first.is_direct = True
            first.turn.set_result(self.ALONE)
            return
        for call in calls:
            call.is_direct = False
            call.prepared.in_flight = True
        if self._loop is not None:
            task = self._loop.create_task(self._send(chunk, calls, lane))
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)

    def _count_request(self, lane: Lane, calls: int) -> None:
        self._requests += 1
        lane.requests += 1
        lane.calls += calls

    def _on_request_done(self, lane: Lane, calls: int) -> None:
        self._requests -= 1
        lane.requests -= 1
        lane.calls -= calls

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._schedule()

    def finish_alone(self, call: Call, *, is_ok: bool) -> None:
        """Note that a call that was made directly has ended."""
        if not call.is_direct or call.turn.get_loop() is not self._loop:
            return  # it has ended, or is one of an event loop before
        prepared = call.prepared
        call.is_direct = False
        self._on_request_done(_lane_of(call), 1)
        if call.group is not None:
            self._queue.release_group(call.group)
        if is_ok:
            self._successes += 1
            if prepared.attempts == 1:
                now = self._clock.monotonic()
                self._latency.record(1, now - prepared.sent_at, now)
            if call.was_refused and call.type not in self._direct_types:
                self._direct_types.add(call.type)
                LOG.warning(
                    "%s is not known to /bulk: from now on, these calls are sent directly",
                    call.type,
                )
        self._on_resolved()
        if self._waiting_lanes:
            self._schedule()

    async def _send(self, chunk: Chunk, calls: list[Call], lane: Lane) -> None:
        bulk: PreparedRequest[BatchResponse] = PreparedRequest(
            BATCHED_REGISTERS if {call.type for call in calls} == _REGISTERS else BATCHED,
            BATCHED.path_for(None),
            body=chunk.body,
            needs_new_connection=chunk.needs_new_connection,
            items=len(calls),
            is_timed=True,
        )
        try:
            outcome = await self._attempt(bulk, calls, lane)
        except asyncio.CancelledError:
            self._on_interrupted(chunk, calls, lane)
            raise
        except Exception as exc:  # noqa: BLE001 # each call gets an outcome, whatever happens
            outcome = Failure(self._unexpected(exc), WriteStatus.UNKNOWN, permanent=True)
        now = self._clock.monotonic()
        for call in calls:
            call.prepared.in_flight = False
        self._on_request_done(lane, len(calls))
        if isinstance(outcome, Failure):
            await self._on_failure(chunk, outcome, bulk, lane)
            return
        try:
            result = match_outputs(chunk.items, outcome, self._redactor)
            if len(result.ok) + len(result.failed) == len(calls):
                self._latency.record(len(calls), now - bulk.sent_at, now)
            self._state.budget.deposit(chunk.spent)
            self._on_accepted(chunk)
            self._on_response(chunk, result, now - bulk.sent_at, now)
        except Exception as exc:  # noqa: BLE001 # each call gets an outcome, whatever happens
            self._fail_all(chunk, self._unexpected(exc))

    async def _attempt(
        self, bulk: PreparedRequest[BatchResponse], calls: list[Call], lane: Lane
    ) -> BatchResponse | Failure:
        """Make one attempt of a bulk request, observed by instrumentation if there is any."""
        captured: list[CapturedCall] = []
        if self._state.capture_count:
            captured = [c.prepared.capture for c in calls if c.prepared.capture is not None]
            bulk.capture = CapturedCall(())
        try:
            if installed.observer is None:
                return await lane.retry.attempt(bulk)
            bulk.calls = [call.prepared for call in calls]
            return await self._observe(bulk, lane)
        finally:
            if bulk.capture is not None and bulk.capture.response is not None:
                for capture in captured:
                    capture.response = bulk.capture.response

    async def _observe(
        self, bulk: PreparedRequest[BatchResponse], lane: Lane
    ) -> BatchResponse | Failure:
        assert installed.observer is not None  # noqa: S101 # checked by the caller
        failures: list[Failure] = []

        async def attempt() -> BatchResponse:
            outcome = await lane.retry.attempt(bulk)
            if isinstance(outcome, Failure):
                failures.append(outcome)
                raise outcome.error
            return outcome

        base_url = self._state.transport.base_url
        try:
            return await installed.observer.observe(bulk, base_url, attempt())
        except PrefactorHttpError:
            return failures[0]

    # Requests that fail as a whole

    async def _on_failure(
        self,
        chunk: Chunk,
        failure: Failure,
        bulk: PreparedRequest[BatchResponse],
        lane: Lane,
    ) -> None:
        for call in _calls(chunk):
            call.history.attempts += 1
            call.history.outcome_unknown |= failure.write_status is WriteStatus.UNKNOWN
        if not self._drop_cancelled(chunk):
            self._queue.dissolve(chunk)
            return
        kind = kind_of(failure.error)
        if kind is FailureKind.TOO_LARGE and len(chunk.items) > 1:
            self._controller.record_too_large(len(bulk.body or b""))
            self._requeue(chunk)
        elif kind is FailureKind.REFUSED or kind is FailureKind.TOO_LARGE:
            self._on_refused(chunk, failure)
        else:
            await self._on_failed(chunk, failure, bulk, lane, kind)

    def _requeue(self, chunk: Chunk) -> None:
        self._queue.dissolve(chunk, chunk.items)
        self._on_requeued(chunk.items)

    def _on_refused(self, chunk: Chunk, failure: Failure) -> None:
        """Find the call, or the type of call, that a request was refused for."""
        calls = _calls(chunk)
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
        if chunk.refused is not None:
            chunk.refused.is_blamed = True
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
        if not refused.parts and not refused.is_blamed and refused.accepted < self._item_limit:
            self._item_limit = refused.accepted
            LOG.info("%s: requests contain up to %d calls now", BATCHED.name, refused.accepted)

    def _send_alone(self, call: Call) -> None:
        """Make a call directly that /bulk has refused without applying it."""
        call.is_direct, call.was_refused = None, True
        call.lane = self.lanes_for(call.own_lane.config)[1]

    async def _on_failed(
        self,
        chunk: Chunk,
        failure: Failure,
        bulk: PreparedRequest[BatchResponse],
        lane: Lane,
        kind: FailureKind,
    ) -> None:
        """Retry a request, or fail its calls, by the rules of direct calls."""
        config = lane.config
        is_malformed = kind is FailureKind.MALFORMED and not chunk.malformed
        chunk.malformed += kind is FailureKind.MALFORMED
        self._controller.back_off(self._clock.monotonic())
        if kind is FailureKind.TIMED_OUT:
            self._controller.record_timeout(bulk.sent_at, len(chunk.items))
        if chunk.failed_at is None:
            chunk.failed_at = self._successes
        if not (is_malformed or should_retry(bulk, failure, config)):
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
        for call in _calls(chunk):
            call.failed_requests += 1
        self._fail_some(
            chunk,
            failure.error,
            lambda call: call.failed_requests > config.max_retries,
            is_exhausted=config.max_retries > 0 and not (failure.lost or is_malformed),
        )
        if not chunk.items:
            return
        problem = self._retry_problem(chunk, failure, config)
        if problem is not None:
            failure.error.add_note(problem)
            self._fail_all(chunk, failure.error)
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
        self._report_retry(bulk, failure, chunk, delay, config)
        self._schedule()  # other calls do not wait for this retry
        await self._state.sleep(delay)
        self._retry_chunk(chunk, config)

    def _retry_problem(
        self, chunk: Chunk, failure: Failure, config: HttpClientConfig
    ) -> str | None:
        if is_retry_after_too_long(failure, config):
            return RETRY_AFTER_TOO_LONG
        cost = retry_cost(failure)
        if not self._state.budget.withdraw(cost):
            failure.error.retry_budget_exhausted = True
            return BUDGET_EXHAUSTED
        chunk.spent += cost
        return None

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
            self._queue.dissolve(chunk)
            return
        size = len(chunk.items)
        if size > 1 and self._successes > (chunk.failed_at or 0):
            # The last attempt of each call is made alone.
            left = config.max_retries + 1 - max(c.failed_requests for c in _calls(chunk))
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
        calls = _calls(chunk)
        parts = self._queue.divide(chunk, choose)
        divided = {call.key for part in parts for call in _calls(part)}
        for call in calls:
            if call.key not in divided:  # behind another call of its group
                self._count_waiting(call)
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
        failed = [call for call in _calls(chunk) if condition(call)]
        if not failed:
            return
        self._keep(chunk, [call for call in _calls(chunk) if not condition(call)])
        for call in failed:
            call.is_exhausted = is_exhausted
            own = call.copy_error(error)
            if note is not None:
                own.add_note(note)
            self._resolve_failed(call, own)

    def _fail_all(self, chunk: Chunk, error: PrefactorHttpError) -> None:
        for call in _calls(chunk):
            if not call.turn.done():
                self._resolve_failed(call, call.copy_error(error))
        self._queue.dissolve(chunk)

    def _on_interrupted(self, chunk: Chunk, calls: list[Call], lane: Lane) -> None:
        """Fail the calls of a request that was cancelled because the client closes."""
        self._on_request_done(lane, len(calls))
        for call in calls:
            call.prepared.in_flight = False
            call.history.attempts += 1
            call.history.outcome_unknown = True
        self._fail_all(chunk, PrefactorClientError(_INTERRUPTED))

    # Results

    @property
    def _may_repeat(self) -> bool:
        return True

    def _on_requeued(self, items: list[BatchItem]) -> None:
        for call in items:
            assert isinstance(call, Call)  # noqa: S101 # only calls are added
            if call.turn.cancelled():
                self._leave(call)
            self._count_waiting(_lane_of(call))

    def _on_reconciled(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 # called by `_reconcile`
        del self._reconciling[task]
        self._schedule()

    def _is_transient(self, item: BatchItem, error: PrefactorApiError) -> bool:
        return super()._is_transient(item, error) or (
            error.status_code in _lane_of(item).config.retry_on_status_codes
        )

    def _changes_route(self, item: BatchItem, error: PrefactorApiError) -> bool:
        """Whether to make a refused call directly, because /bulk may not know its type."""
        is_suspect = error.code == _BAD_REQUEST or error.status_code == _OK
        history = item.history
        if not is_suspect or (history.outcome_unknown and may_follow_own_success(item.type, error)):
            return False
        # An earlier request has not applied it either: it would have been answered as a repeat.
        history.outcome_unknown = False
        assert isinstance(item, Call)  # noqa: S101 # only calls are added
        self._send_alone(item)
        return True

    def _on_transient_error(
        self, item: BatchItem, error: PrefactorApiError, raw: bytes, now: float
    ) -> bool:
        assert isinstance(item, Call)  # noqa: S101 # only calls are added
        config = item.own_lane.config
        history = item.history
        history.rejections += 1
        unknown = WriteStatus.UNKNOWN if error.outcome_unknown else WriteStatus.ANSWERED
        failure = Failure(error, unknown, status=error.status_code)
        delay = retry_delay(failure, history.rejections - 1, config, has_reconnected=True)
        retries = history.rejections + item.failed_requests
        if not should_retry(item.prepared, failure, config):
            note = None
        elif retries > config.max_retries:
            item.is_exhausted, note = config.max_retries > 0, None
        elif now + delay >= (item.prepared.expires_at or math.inf):
            note = DEADLINE_TOO_EARLY
        elif not self._state.budget.withdraw(retry_cost(failure)):
            error.retry_budget_exhausted, note = True, BUDGET_EXHAUSTED
        else:
            if self._loop is not None:
                task = self._loop.create_task(self._resume_after(item, delay))
                self._tasks.add(task)
                task.add_done_callback(self._on_task_done)
            return True
        if note is not None:
            error.add_note(note)
        self._resolve_failed(item, item.describe(error), raw)
        return False

    async def _resume_after(self, call: Call, delay: float) -> None:
        try:
            await self._state.sleep(delay)
        except asyncio.CancelledError:
            self._queue.release_group(call.group)
            self._resolve_failed(call, PrefactorClientError(_INTERRUPTED))
            raise
        self._queue.resume(call)
        self._count_waiting(_lane_of(call))

    def _succeed(self, successes: list[Success]) -> None:
        for item, result, _ in successes:
            turn: asyncio.Future[Any] = item.turn  # type: ignore[attr-defined] # only calls are added
            if not turn.done():
                turn.set_result(result)
        self._pending -= len(successes)
        self._wake_if_idle()
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
        if item.error is None and isinstance(error, PrefactorHttpError):
            prepared, history = item.prepared, item.history
            prepared.attempts = history.attempts
            prepared.outcome_unknown = history.outcome_unknown or state is State.UNKNOWN
            if not item.turn.done():
                own = build_error(prepared, error, is_exhausted=item.is_exhausted)
                item.turn.set_exception(own.with_traceback(None))
            self._on_resolved()
            self._observe_items(state.value, 1)

    def _observe_items(self, state: str, count: int) -> None:
        if installed.observer is not None and count:
            installed.observer.on_items(BATCHED.name, Counter({state: count}))

    def _on_resolved(self) -> None:
        self._pending -= 1
        self._wake_if_idle()

    # The end

    def _wake_if_idle(self) -> None:
        if not self._pending and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 # a bound, no error
        """Send what waits, and wait for results. Calls that are left after `timeout` seconds fail.

        In the meantime, new calls are rejected.
        """
        loop = self._loop
        if loop is not asyncio.get_running_loop():
            return
        self._adopt_lone()
        self._is_draining = True
        try:
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None
            self._schedule()
            if self._pending:
                self._idle = loop.create_future()
                await asyncio.wait([self._idle], timeout=timeout)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """End all tasks, and fail the calls that are left."""
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        self._timer = self._linger = None
        tasks = [*self._tasks, *self._reconciling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for item in [*self._queue.drain(), *self._reconciling.values()]:
            self._resolve_failed(item, PrefactorClientError(CLOSED))
        self._state.batchers.pop(self, None)
        self._loop = None

    def forget(self) -> None:
        """Drop all calls: their event loop is closed, or runs in another process."""
        self._loop = None


class BatchedRetry(Retry):
    """Runs calls, those with a bulk type through a `Batcher`."""

    def __init__(self, config: HttpClientConfig, state: ClientState, batcher: Batcher) -> None:
        super().__init__(config, state)
        self._batcher = batcher
        self._lanes = batcher.lanes_for(config)

    async def run(self, prepared: PreparedRequest[T]) -> T:
        """Run a call; see `Retry.run`."""
        if (
            not prepared.operation.is_batchable
            # These run the call with a capture or within the deadline, by this method.
            or (self.state.capture_count and prepared.capture is None and captures_of(self.state))
            or (self.config.deadline is not None and prepared.expires_at is None)
        ):
            return await super().run(prepared)
        batcher = self._batcher
        if batcher.begin_lone(prepared, self._lanes):
            try:
                return await super().run(prepared)
            finally:
                batcher.end_lone()
        try:
            self.state.check_usable()
            call = batcher.submit(prepared, self._lanes)
        except PrefactorClientError as error:
            build_error(prepared, error, is_exhausted=False)  # adds method, path and key
            raise
        try:
            result: T | object = await call.turn
        except asyncio.CancelledError as exc:
            batcher.abandon(call)
            annotate_cancellation(prepared, exc)
            exc.__traceback__ = None
            raise
        if result is not Batcher.ALONE:
            return cast("T", result)
        is_ok = False
        prepared.is_timed = True
        try:
            own_result = await super().run(prepared)
            is_ok = True
        finally:
            batcher.finish_alone(call, is_ok=is_ok)
        return own_result


class BatchingExecutor(Executor):
    """Runs the calls of a client that batches them.

    Args:
        config: Options of the calls.
        state: The state that the client and its views share.
        batcher: Groups the calls.
    """

    def __init__(self, config: HttpClientConfig, state: ClientState, batcher: Batcher) -> None:
        super().__init__(config, state)
        self._batcher = batcher
        self._retry = BatchedRetry(config, state, batcher)

    def with_options(self, **options: Unpack[Options]) -> BatchingExecutor:
        """Return an executor with other options, which batches its calls in the same way."""
        return BatchingExecutor(replace(self.config, **options), self.state, self._batcher)

    async def close(self, drain_timeout: float) -> None:
        """Send the calls that wait, and reject new ones."""
        self._batcher.is_closed = True
        await self._batcher.drain(drain_timeout)


def batching(executor: Executor, bounds: BatchBounds) -> BatchingExecutor:
    """Return an executor with the same options that batches its calls."""
    plain = Executor(executor.config, executor.state)
    return BatchingExecutor(executor.config, executor.state, Batcher(plain, bounds))


def _calls(chunk: Chunk) -> list[Call]:
    return chunk.items  # type: ignore[return-value] # a batcher adds only calls


def _lane_of(item: BatchItem) -> Lane:
    assert isinstance(item.lane, Lane)  # noqa: S101 # set by `Batcher.submit`
    return item.lane


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
