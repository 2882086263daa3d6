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
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Hashable
from typing import Any
from weakref import WeakValueDictionary

from prefactor_http import _api
from prefactor_http._bulk.call import BatchBounds, Call, Lane, calls_of, lane_of
from prefactor_http._bulk.call_dispatcher import CallDispatcher
from prefactor_http._bulk.chunk_result import match_outputs
from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._bulk.key_pool import KeyPool
from prefactor_http._bulk.latency import LatencyModel
from prefactor_http._bulk.operation import BATCHED, BATCHED_REGISTERS, BatchResponse
from prefactor_http._bulk.options import BatchOptions
from prefactor_http._bulk.queue import Chunk
from prefactor_http._http.captured_response import CapturedCall
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.encoding import encode_json
from prefactor_http._http.executor import Executor
from prefactor_http._http.identity import names_in
from prefactor_http._http.observer import Observer, installed
from prefactor_http._http.reporting import LOG
from prefactor_http._http.response import Failure
from prefactor_http._http.retry import Retry
from prefactor_http._http.retry_budget import FIRST_SUCCESS
from prefactor_http._http.state import CLOSED
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError, PrefactorHttpError
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, new_key

# After so many calls that nobody joined, a call does not wait for others.
_MIN_CALLS_ALONE = 3
_KEYS_AT_ONCE = 32
# So many calls are sent directly before it is considered again whether bulk requests are faster.
_DIRECT_CALLS_AT_ONCE = 32
# A body of this size may share its begin with others; its end is its own.
_MIN_SHARED_BODY, _MAX_OWN_BYTES = 512, 256
VIEW_CLOSED = "the batching view is closed: make another one with `batched`"
_REGISTERS = {_api.REGISTER.bulk}


class Batcher(CallDispatcher):
    """Groups the calls of a client, or of one of its views.

    Args:
        executor: Sends requests and reads.
        bounds: Bounds of requests.
    """

    ALONE = object()

    def __init__(self, executor: Executor, bounds: BatchBounds) -> None:
        self._executor = executor
        self._bounds = bounds
        self.is_closed = False
        self._direct_types: set[str] = set()
        self._heads: dict[str, bytes] = {}
        self._begins: dict[str, tuple[bytes, bytes]] = {}  # of the last body, and of its item
        self._lanes: WeakValueDictionary[Hashable, Lane] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._keys = KeyPool(_KEYS_AT_ONCE)
        self._reset()

    def _reset(self) -> None:
        """Start afresh, on another event loop."""
        config = self._executor.config
        bounds = self._bounds
        options = BatchOptions(
            chunk_size=bounds.max_items,
            max_chunk_bytes=bounds.max_bytes,
            concurrency=bounds.concurrency,
        )
        super().__init__(self._executor, ConcurrencyController(options, config), bounds.max_items)
        self._latency = LatencyModel(
            config.request_timeout, bounds.concurrency, config.max_connections, bounds.max_items
        )
        for lane in self._lanes.values():
            lane.reset()
        self._waiting_lanes: dict[Lane, None] = {}
        self._requests = 0  # bulk requests in flight
        self._is_draining = False
        self._is_stopped = False
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._calls_alone = 0  # how many calls in a row were alone
        self._lone: tuple[PreparedRequest[Any], tuple[Lane, Lane]] | None = None
        self._adopted: Call | None = None

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

    def new_key(self) -> str:
        """Generate an idempotency key, cheaper while other calls are pending."""
        return self._keys() if self._pending else new_key()

    def submit(self, prepared: PreparedRequest[Any], lanes: tuple[Lane, Lane]) -> Call:
        """Add a call to the queue of the client's event loop.

        Raises:
            PrefactorClientError: The batching view is closed.
        """
        if self.is_closed:
            raise PrefactorClientError(VIEW_CLOSED)
        loop = self._state.loop
        assert loop is not None  # noqa: S101 # checked by `ClientState.check_usable`
        if loop is not self._loop:
            self._reset()
            self._loop = loop
            self._state.batchers[self] = None
        if self._is_draining:
            raise PrefactorClientError(CLOSED)
        if self._lone is not None:
            self._adopt_lone()
        body = prepared.body
        call = self._new_call(prepared, lanes, loop)
        self._calls_alone = 0 if self._pending > 1 else self._calls_alone + 1
        lane = lane_of(call)
        if lane.direct_calls and not lane.waiting and self._queue.occupy(call.group):
            lane.direct_calls -= 1
            self._begin_alone(call, lane, body)
            call.turn.set_result(self.ALONE)
            return call
        self._queue.append(call)
        self._count_waiting(lane)
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
        shared, own = self._split(type_, head, prepared.body or b"")
        prepared.body = None
        self._pending += 1
        return Call(
            0,
            key,
            type_,
            shared,
            own,
            group,
            None,
            id_,
            name,
            instance_id,
            lanes[len(key) < MIN_LENGTH_IN_BULK or type_ in self._direct_types],
            prepared=prepared,
            head_length=len(head),
            turn=loop.create_future(),
            own_lanes=lanes,
        )

    def _count_waiting(self, lane: Lane) -> None:
        lane.waiting += 1
        self._waiting_lanes[lane] = None
        if self._is_scheduled:
            return
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
            prepared.outcome_unknown |= history.outcome_unknown
        if call.is_direct:  # its turn had just come
            self.finish_alone(call, is_ok=False)
        elif call.turn.cancelled():
            if not prepared.in_flight:
                self._leave(call)
        else:  # its result had just arrived
            prepared.outcome_unknown = True

    def _split(self, type_: str, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Split an item into a part that calls share, if they begin alike, and its own part.

        Registers of one agent differ only at the end: in the key and the names. So their versions
        and schemas are in memory once.
        """
        if len(body) < _MIN_SHARED_BODY:
            return head, body[1:]
        begin, shared = self._begins.get(type_, (b"", b""))
        if not begin or not body.startswith(begin) or not shared.startswith(head):
            begin = body[:-_MAX_OWN_BYTES]
            shared = head + begin[1:]
            self._begins[type_] = begin, shared
        return shared, body[len(begin) :]

    # A call that nobody joins. Nothing is noted of it but that it is there.

    def begin_lone(self, prepared: PreparedRequest[Any], lanes: tuple[Lane, Lane]) -> bool:
        """Whether a call need not wait for others, because the last calls were alone, too.

        If so, call `end_lone` after it.
        """
        if (
            self._calls_alone < _MIN_CALLS_ALONE
            or self._pending
            or self._queue.has_busy_groups  # of cancelled calls
            or self._lone is not None
            or self._bounds.linger
            or self.is_closed
            or self._loop is not self._state.loop
        ):
            return False
        self._lone = prepared, lanes
        return True

    def end_lone(self, prepared: PreparedRequest[Any]) -> None:
        call = self._adopted
        if self._lone is not None and self._lone[0] is prepared:
            self._lone = None
        elif call is not None and call.prepared is prepared:
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
        self._queue.occupy(call.group)
        self._begin_alone(call, lane_of(call), body)

    def _begin_alone(self, call: Call, lane: Lane, body: bytes | None) -> None:
        call.prepared.body, call.shared = body, b""
        call.is_direct = True
        lane.begin_request(1, self._clock.monotonic())

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
        if self._is_stopped:
            return
        now = self._clock.monotonic()
        while self._requests < self._controller.limit:
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
                lane_of(item).waiting -= 1
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
            if not latency.is_trial_due(now):
                lane.direct_calls = _DIRECT_CALLS_AT_ONCE
            is_trial = latency.begin_trial(lane.waiting, now)
            return (min(latency.TRIAL_SIZE, self._item_limit) if is_trial else 1), True
        is_free = lane.requests < self._controller.limit and (
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
        calls = calls_of(chunk)
        lane = lane_of(calls[0])
        lane.begin_request(len(calls), now)
        first = calls[0]
        if len(calls) == 1 and first.is_direct is not False:
            item = first.body + first.shared
            first.prepared.body, first.shared = b"{" + item[first.head_length :], b""
            first.is_direct = True
            first.turn.set_result(self.ALONE)
            return
        self._requests += 1
        for call in calls:
            call.is_direct = False
            call.prepared.attempts += 1
            call.prepared.in_flight = True
        self._start_task(self._send(chunk, calls, lane), chunk)

    def finish_alone(self, call: Call, *, is_ok: bool) -> None:
        """Note that a call that was made directly has ended."""
        if not call.is_direct or call.turn.get_loop() is not self._loop:
            return  # it has ended, or is one of an event loop before
        prepared = call.prepared
        call.is_direct = False
        lane_of(call).end_request(1)
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
        if self._waiting_lanes or self._queue.has_retries:
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
        finally:
            for call in calls:
                call.prepared.in_flight = False
                call.prepared.attempts += bulk.attempts - 1
                if bulk.in_flight:  # interrupted
                    call.history.outcome_unknown = True
            lane.end_request(len(calls))
            self._requests -= 1
        now = self._clock.monotonic()
        if isinstance(outcome, Failure):
            await self._on_failure(chunk, outcome, bulk, lane.config)
            return
        result = match_outputs(chunk.items, outcome, self._redactor)
        if len(result.ok) + len(result.failed) == len(calls):
            self._latency.record(len(calls), now - bulk.sent_at, now)
        self._state.budget.deposit(chunk.spent if chunk.failures else FIRST_SUCCESS)
        self._on_accepted(chunk)
        self._on_response(chunk, result, now - bulk.sent_at, now)

    async def _attempt(
        self, bulk: PreparedRequest[BatchResponse], calls: list[Call], lane: Lane
    ) -> BatchResponse | Failure:
        """Make one attempt of a bulk request, observed by instrumentation if there is any."""
        captured: list[CapturedCall] = []
        if self._state.capture_count:
            captured = [c.prepared.capture for c in calls if c.prepared.capture is not None]
            bulk.capture = CapturedCall(())
        observer = installed.observer
        try:
            if observer is None:
                return await lane.retry.attempt(bulk)
            bulk.calls = [call.prepared for call in calls]
            observer.on_items_in_flight(BATCHED.name, len(calls))
            try:
                return await self._observe(bulk, lane, observer)
            finally:
                observer.on_items_in_flight(BATCHED.name, -len(calls))
                for call in calls:
                    call.prepared.status = bulk.status
        finally:
            if bulk.capture is not None and bulk.capture.response is not None:
                for capture in captured:
                    capture.response = bulk.capture.response

    async def _observe(
        self, bulk: PreparedRequest[BatchResponse], lane: Lane, observer: Observer
    ) -> BatchResponse | Failure:
        failures: list[Failure] = []

        async def attempt() -> BatchResponse:
            outcome = await lane.retry.attempt(bulk)
            if isinstance(outcome, Failure):
                failures.append(outcome)
                raise outcome.error
            return outcome

        try:
            return await observer.observe(bulk, self._state.transport.base_url, attempt())
        except PrefactorHttpError:
            return failures[0]

    # The end

    def _on_idle(self) -> None:
        self._keys.clear()
        super()._on_idle()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 # a bound, no error
        """Send what waits, and wait for results.

        In the meantime, new calls are rejected. After `timeout` seconds, batched calls that are
        left fail; calls that are made directly end by themselves, or when the client closes.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            return
        self._adopt_lone()
        self._is_draining = True
        try:
            self._schedule()
            if self._pending:
                if self._idle is None or self._idle.done():
                    self._idle = loop.create_future()
                await asyncio.wait([self._idle], timeout=timeout)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """End all tasks, and fail the calls that are left."""
        if self._is_stopped:
            return  # by another `drain`
        self._is_stopped = True
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
        self._on_idle()  # calls that are made directly may still be in flight
        self._state.batchers.pop(self, None)
        self._loop = None

    def forget(self) -> None:
        """Drop all calls: their event loop is closed, or runs in another process."""
        self._loop = None
