"""Throttle of one operation after the API has rejected a call; see `rate_limiter`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from msgspec import Struct

from prefactor_http._http.backoff import backoff
from prefactor_http._http.codec import TOO_MANY_REQUESTS, PreparedRequest
from prefactor_http._http.isolated_rejections import IsolatedRejections
from prefactor_http._http.rate_estimator import Interval, RateEstimator
from prefactor_http.config import HttpClientConfig

MIN_GIVE_UP_AFTER = 60.0
_MIN_PAUSE = 0.001
_MIN_PROBE_SECONDS = 1.0
# Timers fire a little late. Calls make up for at most this delay, so an idle time causes no burst.
_SLACK = 0.02
_MIN_PACED = 3.0  # in units of the pause
# If `Retry-After` is the rest of the API's window, it is short at the end of a long window.
_WAIT_MEMORY = 0.8
# So many calls in flight at a rejection are evidence.
_MIN_LATE = 2
# A rejection after so many calls, or after about as many as the last time, is not random.
_MANY_CALLS, _SIMILAR_RATIO = 100, 1.25
_EVIDENCE_OF_LIMIT = -9.0


class ThrottleState(Enum):
    """How the calls of an operation are sent."""

    OPEN = auto()
    """Calls are sent immediately."""
    PAUSED = auto()
    """Calls wait. After the pause, one at a time is sent as a probe."""
    PACED = auto()
    """Calls are sent one after another, at the estimated rate."""


class Rejection(Struct, frozen=True):
    """The API's response to a rejected call."""

    status: int
    code: str
    message: str
    retry_after: float | None


class Throttle:
    """Pauses and paces the calls of one operation. It does not wait or read a clock itself.

    Args:
        config: The client's configuration, for the length of pauses.
        on_change: Called with the new state and the time when calls start or stop being held back.

    Attributes:
        queue: Waiting calls acquire this lock one after another.
        state: How calls are sent now.
        probe: The probe in flight, or None.
        paused_until: End of the pause.
        pauses: Pauses in a row, without a success between them.
        give_up_at: When waiting calls fail, except during the first pause.
        give_up_after: Seconds from the first rejection, or the last success, to `give_up_at`.
        rejected_at: Time of the last rejection.
        throttled_since: When calls started to be held back; set by the rate limiter.
        last_rejection: The last rejection.
    """

    def __init__(
        self, config: HttpClientConfig, on_change: Callable[[ThrottleState, float], object]
    ) -> None:
        self.queue = asyncio.Lock()
        self.state = ThrottleState.OPEN
        self.probe: PreparedRequest[Any] | None = None
        self.paused_until = self.give_up_at = self.rejected_at = -math.inf
        self.pauses = 0
        self.throttled_since = 0.0
        self.give_up_after = max(MIN_GIVE_UP_AFTER, config.max_retry_delay)
        self.last_rejection = Rejection(TOO_MANY_REQUESTS, "", "", None)
        self._config = config
        self._on_change = on_change
        self._paused_at = -math.inf
        self._probe_until = 0.0
        self._probe_ended: asyncio.Future[None] | None = None
        self._is_rate_limit = False
        self._wait = 0.0
        self._interval = Interval(0, 0.0, 0.0)
        self._is_evaluated = True
        self._resumed_at = self._next_at = 0.0
        self._admitted = self._last_admitted = 0
        self._estimator = RateEstimator()
        self._isolated = IsolatedRejections()

    def delay(self, now: float) -> float:
        """Return the seconds until a call may be sent; 0 if it may be sent now."""
        if self.state is ThrottleState.PAUSED:
            if now < self.paused_until:
                return self.paused_until - now
            return 0.0 if self.probe is None else max(0.0, self._probe_until - now)
        if self.state is ThrottleState.PACED:
            late = now - self._next_at
            if late < 0:
                return -late
            open_after = max(self._estimator.unlimited_after, _MIN_PACED * self._wait)
            if late > _SLACK and now - self._resumed_at > open_after:
                self._change_state(ThrottleState.OPEN, now)
        return 0.0

    def should_give_up(self, now: float) -> bool:
        """Return whether waiting calls fail because no probe has succeeded for too long."""
        is_probed = self.state is ThrottleState.PAUSED and self.pauses > 1 and self.probe is None
        return is_probed and now >= self.give_up_at

    def acquire_nowait(self, prepared: PreparedRequest[Any], now: float) -> bool:
        """Admit a call if it may be sent now. Returns whether it was admitted."""
        if self.delay(now):
            return False
        prepared.admitted_at = now
        if self.state is ThrottleState.PAUSED:
            if not self._is_evaluated:
                self._is_evaluated = True
                self._evaluate(self._interval)
            if now > self.paused_until + self.give_up_after:  # no calls for a long time
                self.give_up_at = now + self.give_up_after
            self.probe = prepared
            # If the probe gets no response, the others wait no longer than the pause lasted.
            self._probe_until = now + max(_MIN_PROBE_SECONDS, self.paused_until - self._paused_at)
        elif self.state is ThrottleState.PACED:
            rate = self._estimator.rate_at(now - self._resumed_at)
            self._next_at = max(self._next_at, now - _SLACK) + 1 / rate
        return True

    def release(self, prepared: PreparedRequest[Any]) -> None:
        """Record that the attempt of a call has ended."""
        if self.probe is prepared:
            self.probe = None
            if self._probe_ended is not None and not self._probe_ended.done():
                self._probe_ended.set_result(None)

    def probe_ended(self) -> asyncio.Future[None]:
        """Return a future that is done when the probe has ended."""
        self._probe_ended = asyncio.get_running_loop().create_future()
        return self._probe_ended

    def record_success(self, prepared: PreparedRequest[Any], now: float) -> None:
        """Record a call that was not rejected."""
        self._isolated.record_success(_key(prepared))
        if self.state is ThrottleState.PAUSED:
            self.give_up_at = now + self.give_up_after
            if self._is_late(prepared):
                self._interval.late_admitted += 1
                return
            self._resumed_at = now
            self._next_at = prepared.admitted_at + 1 / self._estimator.rate_at(0.0)
            self._admitted = 0
            self._change_state(
                ThrottleState.PACED if self._is_rate_limit else ThrottleState.OPEN, now
            )
        if not self._is_late(prepared):
            self._admitted += 1

    def record_rejection(
        self, prepared: PreparedRequest[Any], rejection: Rejection, now: float
    ) -> None:
        """Record a rejected call."""
        self.rejected_at, self.last_rejection = now, rejection
        is_late = self._is_late(prepared)
        is_rate_limit = rejection.status == TOO_MANY_REQUESTS
        if self.state is ThrottleState.PAUSED:
            self._isolated.remember(_key(prepared))
            if is_late:
                self._is_rate_limit |= is_rate_limit
                until = now + self._pause_after(rejection, self.pauses - 1)
                longest = self._paused_at + self._config.max_retry_delay
                self.paused_until = max(self.paused_until, min(until, longest))
                self._interval.late_rejected += 1
                return
            pause = self._pause_after(rejection, self.pauses)
        else:
            if self._isolated.record_rejection(_key(prepared)):
                return
            pause = self._pause_after(rejection, 0)
            self._wait = max(pause, _WAIT_MEMORY * self._wait)
            self._interval, self._is_evaluated = Interval(0, 0.0, self._wait), False
            if self.state is not ThrottleState.PACED:
                self._estimator = RateEstimator()
            elif not is_late:
                self._interval.admitted = self._admitted
                self._interval.seconds = prepared.admitted_at - self._resumed_at
            self.pauses = 0
            self.give_up_at = now + self.give_up_after
        self.pauses += 1
        self._is_rate_limit = is_rate_limit
        self._paused_at, self.paused_until = now, now + pause
        self._change_state(ThrottleState.PAUSED, now)
        self.probe = None

    def _pause_after(self, rejection: Rejection, pauses: int) -> float:
        seconds = rejection.retry_after or backoff(self._config, pauses)
        return max(_MIN_PAUSE, min(seconds, self._config.max_retry_delay))

    def _evaluate(self, interval: Interval) -> None:
        """Adjust the rate after a rejection, once the calls in flight have returned."""
        if not interval.is_isolated:
            evidence = _EVIDENCE_OF_LIMIT
        elif interval.is_short:
            evidence = 1.0 if interval.late_admitted >= _MIN_LATE else 0.0
        else:
            evidence = -0.5 if self._estimator.explains(interval) else 0.5
        if self._isolated.add_evidence(evidence):
            self._estimator.speed_up(interval.wait)
        elif interval.admitted:
            ratio = interval.admitted / max(1, self._last_admitted)
            is_similar = 1 / _SIMILAR_RATIO < ratio < _SIMILAR_RATIO
            is_many = interval.admitted >= _MANY_CALLS and not interval.late_admitted
            if interval.is_short and interval.is_isolated and not is_similar and not is_many:
                self._estimator.back_off(interval)
            else:
                is_confirmed = is_similar or not interval.is_isolated
                self._estimator.record_rejection(interval, is_confirmed=is_confirmed)
            self._last_admitted = interval.admitted

    def _change_state(self, state: ThrottleState, now: float) -> None:
        previous, self.state = self.state, state
        if (previous is ThrottleState.OPEN) is not (state is ThrottleState.OPEN):
            self._on_change(state, now)

    def _is_late(self, prepared: PreparedRequest[Any]) -> bool:
        """Return whether a call was sent before the last pause started."""
        return prepared.admitted_at <= self._paused_at


def _key(prepared: PreparedRequest[Any]) -> str:
    """Return the resource id of a call, otherwise what identifies the call."""
    return prepared.resource_id or prepared.key or prepared.path
