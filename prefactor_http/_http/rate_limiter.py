"""Limits the rate of calls when the API asks for it.

The API rejects a call with 429 when there are too many. With 503 and `Retry-After` it says that it
is away for a while. Each operation is throttled on its own, from its first rejection on.

1. *Pause.* The calls of the operation wait for as long as `Retry-After` says, but not longer than
   `max_retry_delay`. Without the header the pauses grow exponentially.
2. *Probe.* Then one call at a time is sent. If it is rejected, the next pause begins. If it
   succeeds, the pause is over.
3. *Pace.* After a 429 the calls that have waited must not be sent all at once, or most of them
   would be rejected again. They are sent one after another, at the rate that the API is estimated
   to admit (see `_rate_estimator`). Pacing ends when nothing was rejected for a long time and calls
   come more slowly than they may. After a 503 calls are not paced.

Not every rejection is caused by the rate. One resource may be broken, or the API may reject one
call in fifty at random. A client that slowed down after each such rejection would soon stand
still. So each rejection is tested:

- A resource, or a call, that is rejected again although other calls have succeeded in between is an
  isolated case. Only the call itself waits.
- When the API is at its limit, it also rejects the calls that are in flight at that moment. If it
  admits most of them, the rejection was probably isolated. A rejection at a rate that was admitted
  before is a hint, too. After two such rejections (or four hints) isolated rejections are expected
  and do not pause the operation any more, unless their share rises (see `_isolated_rejections`).
- If there is no evidence, because few calls are in flight, the rate is lowered only for a moment.

Calls do not wait forever. If nothing has succeeded for 60 seconds (or `max_retry_delay`, if that is
longer) although probes were sent, all calls that wait fail with the last rejection, and so do new
ones until the next probe is due. If the deadline of a call ends before the pause, it fails at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefactor_http._http.clock import Clock
from prefactor_http._http.codec import (
    ERROR_BY_STATUS,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    PreparedRequest,
)
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http._http.semaphore import Semaphore
from prefactor_http._http.throttle import Rejection, Throttle, ThrottleState
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorApiError, PrefactorTimeoutError

_EXPIRES_AFTER = 600.0


class RateLimiter:
    """Decides when a call may be sent.

    Args:
        clock: The client's clock.
        config: The client's configuration. Views of the client are throttled alike.

    Attributes:
        is_idle: Whether no operation is throttled, so that every call may be sent at once.
    """

    def __init__(self, clock: Clock, config: HttpClientConfig) -> None:
        self.is_idle: bool = True
        self._clock = clock
        self._config = config
        self._throttles: dict[str, Throttle] = {}

    def acquire_nowait(self, prepared: PreparedRequest[Any]) -> bool:
        """Let a call through, if it need not wait."""
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
        """Wait until a call may be sent, and for a slot.

        Calls that are throttled hold no slot while they wait, so that others can be sent.

        Returns:
            None when the call may be sent and has a slot, otherwise why it is not sent.
        """
        while True:
            throttle = self._throttle_of(prepared)
            if throttle is not None and (
                throttle.queue.locked() or throttle.delay(self._clock.monotonic())
            ):
                failure = self._failure_if_pointless(prepared, throttle)
                if failure is not None:
                    return failure
                async with throttle.queue:
                    return await self._wait_in_queue(prepared, throttle, slots)
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
                failure = self._failure_if_pointless(prepared, throttle)
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
        """Record that the attempt of a call is over."""
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
        """Forget the calls of an event loop that has ended. What the API asked for stays."""
        for throttle in self._throttles.values():
            throttle.queue = asyncio.Lock()
            throttle.probe = None

    def _throttle_of(self, prepared: PreparedRequest[Any]) -> Throttle | None:
        return self._throttles.get(_key(prepared))

    def _add(self, key: str, now: float) -> Throttle:
        for other, throttle in [*self._throttles.items()]:
            if _is_expired(throttle, now):
                self._remove(other)
        throttle = self._throttles[key] = Throttle(self._config)
        self.is_idle = False
        return throttle

    def _remove(self, key: str) -> None:
        del self._throttles[key]
        self.is_idle = not self._throttles

    def _failure_if_pointless(
        self, prepared: PreparedRequest[Any], throttle: Throttle
    ) -> Failure | None:
        """Return why a call cannot wait, or None if it can."""
        now = self._clock.monotonic()
        wait = max(0.0, throttle.paused_until - now)
        name = _key(prepared)
        if throttle.should_give_up(now):
            last = throttle.last_rejection
            seconds = now - throttle.give_up_at + throttle.give_up_after
            error = ERROR_BY_STATUS.get(last.status, PrefactorApiError)(
                f"not sent, because every {name} has been rejected for {seconds:.0f} s; the last "
                f"time with: {last.message}",
                last.code,
                last.status,
            )
            error.retry_after = wait
            return Failure(
                error, WriteStatus.NOT_SENT, status=last.status, permanent=True, retry_after=wait
            )
        if prepared.expires_at is not None and wait and now + wait >= prepared.expires_at:
            late = PrefactorTimeoutError(
                f"not sent: the API asks to wait for {wait:.3g} s before the next {name}, and the "
                f"deadline is over in {prepared.expires_at - now:.3g} s"
            )
            late.retry_after = wait
            return Failure(late, WriteStatus.NOT_SENT, permanent=True, retry_after=wait)
        return None


def _key(prepared: PreparedRequest[Any]) -> str:
    """Return what is throttled together: an operation, or all calls of `request`."""
    # Their names contain a path, and paths contain ids.
    return prepared.operation.name.partition(" ")[0]


def _rejection(failure: Failure) -> Rejection | None:
    """Return the rejection by a rate limit, or by an API that is away for some time."""
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
