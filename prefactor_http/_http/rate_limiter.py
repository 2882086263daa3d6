"""Rate limiter: pauses and paces calls after the API has rejected one with 429 or 503.

The API rejects a call with 429 when there are too many, and with 503 and `Retry-After` when it is
unavailable for a while. Each operation is throttled separately, from its first rejection on.

1. *Pause.* The calls of the operation wait for `Retry-After`, at most for `max_retry_delay`.
   Without the header the pauses grow exponentially.
2. *Probe.* Then one call at a time is sent. If it is rejected, the next pause begins. If it
   succeeds, the pause is over.
3. *Pace.* If all waiting calls were sent at once after a 429, most of them would be rejected again.
   They are sent one after another, at the estimated rate that the API admits (see
   `rate_estimator`). Pacing ends when nothing was rejected for a long time and calls arrive more
   slowly than they may be sent. After a 503 calls are not paced.

Not every rejection is caused by the rate. One resource may be broken, or the API may reject one
call in fifty at random. If the client slowed down after each such rejection, it would soon send
almost nothing. So the client checks each rejection:

- If the same resource or call is rejected again although other calls have succeeded in between,
  the rejection is isolated. Only the call itself waits.
- An API at its limit also rejects the calls that are in flight at that moment. If it admits most of
  them, the rejection was probably isolated. A rejection at a rate that was admitted before is
  weaker evidence. After two such rejections (or four with weaker evidence) isolated rejections are
  expected and no longer pause the operation, unless their share rises (see `isolated_rejections`).
- If there is no evidence, because few calls are in flight, the rate is lowered only briefly.

Calls do not wait forever. If probes were sent but nothing has succeeded for 60 seconds (or
`max_retry_delay`, if longer), all waiting calls fail with the last rejection, and so do new ones
until the next probe is due. A call whose deadline ends before the pause fails immediately.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from prefactor_http._http.clock import Clock
from prefactor_http._http.codec import (
    ERROR_BY_STATUS,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    PreparedRequest,
)
from prefactor_http._http.observer import installed
from prefactor_http._http.reporting import report_throttling
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http._http.semaphore import Semaphore
from prefactor_http._http.throttle import Rejection, Throttle, ThrottleState
from prefactor_http.config import HttpClientConfig
from prefactor_http.events import Throttling
from prefactor_http.exceptions import PrefactorApiError, PrefactorTimeoutError

_EXPIRES_AFTER = 600.0


class RateLimiter:
    """Decides when a call may be sent.

    Args:
        clock: The client's clock.
        config: The client's configuration. It also applies to the client's views.

    Attributes:
        is_idle: Whether no operation is throttled, so that every call may be sent immediately.
    """

    def __init__(self, clock: Clock, config: HttpClientConfig) -> None:
        self.is_idle: bool = True
        self._clock = clock
        self._config = config
        self._throttles: dict[str, Throttle] = {}

    def acquire_nowait(self, prepared: PreparedRequest[Any]) -> bool:
        """Admit a call if it may be sent now. Returns whether it was admitted."""
        throttle = self._throttle_of(prepared)
        if throttle is None:
            return True
        if throttle.queue.locked():
            return False
        now = self._clock.monotonic()
        if _is_expired(throttle, now):
            self._remove(_key(prepared))
            return True
        return throttle.acquire_nowait(prepared, now)

    async def acquire(self, prepared: PreparedRequest[Any], slots: Semaphore) -> Failure | None:
        """Wait until a call may be sent and a slot is free.

        Throttled calls hold no slot while they wait, so that other operations can be sent.

        Returns:
            None if the call may be sent and has a slot, otherwise its failure.
        """
        while True:
            throttle = self._throttle_of(prepared)
            if throttle is not None and (
                throttle.queue.locked() or throttle.delay(self._clock.monotonic())
            ):
                failure = self._wait_failure(prepared, throttle)
                if failure is not None:
                    return failure
                started = self._clock.monotonic()
                try:
                    async with throttle.queue:
                        return await self._wait_in_queue(prepared, throttle, slots)
                finally:
                    if installed.observer is not None:
                        waited = self._clock.monotonic() - started
                        installed.observer.on_wait(_key(prepared), waited)
            await slots.acquire()
            if self.acquire_nowait(prepared):
                return None
            slots.release()

    async def _wait_in_queue(
        self, prepared: PreparedRequest[Any], throttle: Throttle, slots: Semaphore
    ) -> Failure | None:
        while True:
            now = self._clock.monotonic()
            delay = throttle.delay(now)
            if delay:
                failure = self._wait_failure(prepared, throttle)
                if failure is not None:
                    return failure
                if throttle.probe is not None:
                    await self._sleep(delay, unless=throttle.probe_ended())
                    continue
                if throttle.pauses > 1:
                    delay = min(delay, throttle.give_up_at - now)
                await self._clock.sleep(delay)
                continue
            await slots.acquire()
            if throttle.acquire_nowait(prepared, self._clock.monotonic()):
                return None
            slots.release()

    async def _sleep(self, seconds: float, *, unless: asyncio.Future[None]) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((sleep, unless), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()

    def release(self, prepared: PreparedRequest[Any]) -> None:
        """Record that the attempt of a call has ended."""
        throttle = self._throttle_of(prepared)
        if throttle is not None:
            throttle.release(prepared)

    def record(self, prepared: PreparedRequest[Any], outcome: object) -> None:
        """Record the outcome of an attempt: a result, or a `Failure`."""
        throttle = self._throttle_of(prepared)
        now = self._clock.monotonic()
        if isinstance(outcome, Failure):
            rejection = _rejection(outcome)
            if rejection is not None:
                throttle = throttle or self._add(_key(prepared), now)
                throttle.record_rejection(prepared, rejection, now)
                return
            if outcome.write_status is not WriteStatus.ANSWERED:
                return
        if throttle is not None:
            throttle.record_success(prepared, now)

    def rebind(self) -> None:
        """Drop the waiting calls of a closed event loop. Pauses and estimated rates remain."""
        for throttle in self._throttles.values():
            throttle.queue = asyncio.Lock()
            throttle.probe = None

    def _throttle_of(self, prepared: PreparedRequest[Any]) -> Throttle | None:
        return self._throttles.get(_key(prepared))

    def _add(self, key: str, now: float) -> Throttle:
        for other, throttle in [*self._throttles.items()]:
            if _is_expired(throttle, now):
                self._remove(other)
        throttle = self._throttles[key] = Throttle(self._config, partial(self._report, key))
        self.is_idle = False
        return throttle

    def _report(self, key: str, state: ThrottleState, now: float) -> None:
        """Report that the calls of an operation are held back, or no longer."""
        throttle = self._throttles[key]
        started = state is not ThrottleState.OPEN
        if started:
            throttle.throttled_since = now
        report_throttling(
            Throttling(
                operation=key,
                started=started,
                reason=f"{throttle.last_rejection.status}",
                wait_for=throttle.delay(now) if started else 0.0,
                seconds=0.0 if started else now - throttle.throttled_since,
            ),
            self._config.on_throttle,
        )

    def _remove(self, key: str) -> None:
        del self._throttles[key]
        self.is_idle = not self._throttles

    def _wait_failure(self, prepared: PreparedRequest[Any], throttle: Throttle) -> Failure | None:
        """Return the failure of a call that must not wait, or None if it may."""
        now = self._clock.monotonic()
        wait = max(0.0, throttle.paused_until - now)
        name = _key(prepared)
        if throttle.should_give_up(now):
            last = throttle.last_rejection
            seconds = now - throttle.give_up_at + throttle.give_up_after
            error = ERROR_BY_STATUS.get(last.status, PrefactorApiError)(
                f"not sent, because every {name} has been rejected for {seconds:.0f} s; last "
                f"rejection: {last.message}",
                last.code,
                last.status,
            )
            error.retry_after = wait
            return Failure(
                error, WriteStatus.NOT_SENT, status=last.status, permanent=True, retry_after=wait
            )
        if prepared.expires_at is not None and wait and now + wait >= prepared.expires_at:
            late = PrefactorTimeoutError(
                f"not sent: the API asks to wait for {wait:.3g} s before the next {name}, but the "
                f"deadline ends in {prepared.expires_at - now:.3g} s"
            )
            late.retry_after = wait
            return Failure(late, WriteStatus.NOT_SENT, permanent=True, retry_after=wait)
        return None


def _key(prepared: PreparedRequest[Any]) -> str:
    """Return the name of the throttle: the operation, or one name for all calls of `request`."""
    # The names of `request` contain the path, and paths contain ids.
    return prepared.operation.name.partition(" ")[0]


def _rejection(failure: Failure) -> Rejection | None:
    """Return the rejection if the API asked to slow down or is unavailable for a while."""
    error = failure.error
    if isinstance(error, PrefactorApiError) and (
        failure.status == TOO_MANY_REQUESTS
        or (failure.status == SERVICE_UNAVAILABLE and failure.retry_after is not None)
    ):
        return Rejection(error.status_code, error.code, error.message, failure.retry_after)
    return None


def _is_expired(throttle: Throttle, now: float) -> bool:
    return (
        throttle.state is ThrottleState.OPEN
        and now - throttle.rejected_at > _EXPIRES_AFTER
        and not throttle.queue.locked()
    )
