"""Rate estimator: estimates how many calls per second the API admits.

The API does not publish its limit; it only rejects calls. So the estimator searches for it. The
rate at which calls are sent is a curve over the time since the last pause. It is constant at first,
then rises slowly through the range in which the limit is expected, and then faster and faster,
because the limit must have risen. The next rejection ends the search and determines a new range:

- The API admitted the rate shortly before the rejection, but not the rate at the rejection. So the
  limit lies between the two. The next curve starts at the lower end. The narrower the range, the
  longer the curve stays there and the more slowly it rises: in a wide range a higher rate is worth
  the pause that the test costs, in a narrow one there is little to gain.
- If the rate was constant until the rejection, the estimate was too high. The range moves down, but
  not below the calls admitted per second including the pause. A token bucket is refilled at that
  rate.
- If the rejection comes sooner than one `Retry-After` after the pause, the number of calls matters
  more than their rate. The API most likely counts calls in windows of that length. Then the number
  is the limit of one window, or of two if the calls continued into the next one.
- If the API admits some of the calls in flight at the rejection and rejects others, the limit is
  that share of the current rate (an empty token bucket).

All times are multiples of the pause that the API asks for. A rate that was admitted for several
pauses is proven: unless there is other evidence of a lower limit, the rate does not fall far below
it.

The first curve is a guess: high enough that the next rejection comes soon, low enough that few
calls are in flight at that time. The rate is never below one call per `Retry-After`.
"""

from __future__ import annotations

from msgspec import Struct

_MIN_SECONDS = 0.001
# The first curve, in calls per second and in seconds.
_FIRST_RATE, _FIRST_WIDTH, _FIRST_STRETCH = 500.0, 0.5, 0.25
# Times in units of the pause. How long the rate is constant, and how long it rises through the
# range:
_MIN_HOLD, _MAX_HOLD = 1.0, 60.0
_MIN_STRETCH, _MAX_STRETCH, _QUICK_STRETCH = 3.0, 10.0, 4.0
# How long before a rejection the rate was still admitted, and how long before it no longer was:
_ADMITTED_BEFORE, _REJECTED_BEFORE = 1.25, 0.5
# How long a rate must be admitted until it is proven, and until it is not much too high:
_PROVEN, _NEARLY_PROVEN = 2.5, 1.5
# Shares of a rate. The next rate as a share of the lower end of the range (less half a call, which
# matters if a window admits few), or of the calls of a window:
_MARGIN, _MARGIN_CALLS, _WINDOW_MARGIN = 0.99, 0.5, 0.96
_MIN_WIDTH, _QUICK_WIDTH = 0.03, 0.15
_MAX_LATE_SHARE, _PROVEN_SHARE = 0.8, 0.9
_BACK_OFF, _MIN_DEMAND, _BACK_OFF_WIDTH = 0.8, 0.5, 0.25
_MIN_LATE = 3


class Interval(Struct):
    """The calls between the end of a pause and the rejection that starts the next one.

    Attributes:
        admitted: Calls that were not rejected.
        seconds: Time until the rejected call was sent.
        wait: Seconds that the API asked to wait.
        late_admitted: Calls in flight at the rejection that were admitted after it.
        late_rejected: Calls in flight at the rejection that were rejected after it.
    """

    admitted: int
    seconds: float
    wait: float
    late_admitted: int = 0
    late_rejected: int = 0

    @property
    def is_short(self) -> bool:
        """Whether the rejection came long before the end of a window of the API."""
        return self.seconds < self.wait / 2

    @property
    def is_long(self) -> bool:
        """Whether at least one whole window of the API passed before the rejection."""
        return self.seconds > _PROVEN * self.wait

    @property
    def is_isolated(self) -> bool:
        """Whether most calls in flight at the rejection were admitted, unlike at a limit."""
        return self.late_admitted >= 3 * self.late_rejected


class RateEstimator:
    """The rate at which calls may be sent, by the time since the last pause."""

    def __init__(self) -> None:
        self._rate = self._width = self._hold = self._stretch = self._proven = 0.0
        self._set_curve(_FIRST_RATE, _FIRST_WIDTH, 0.0, _FIRST_STRETCH, 1.0)

    def rate_at(self, seconds: float) -> float:
        """Return the calls per second that may be sent so many seconds after a pause."""
        x = max(0.0, seconds - self._hold) / self._stretch
        return self._rate * (1 + self._width * x + max(0.0, x - 1) ** 3)

    @property
    def unlimited_after(self) -> float:
        """Seconds without a rejection after which the limit has probably been lifted."""
        return self._hold + 2 * self._stretch

    def explains(self, interval: Interval) -> bool:
        """Return whether the rate explains a rejection, because it was higher than before."""
        return interval.is_long and interval.seconds > self._hold

    def record_rejection(self, interval: Interval, *, is_confirmed: bool) -> None:
        """Choose the next curve after a rejection at the API's limit.

        Args:
            interval: The calls before the rejection.
            is_confirmed: Whether there is evidence of the limit besides the rejection itself.
        """
        if interval.is_long:
            self._proven = max(self._proven, interval.admitted / interval.seconds)
        self._choose(interval)
        if is_confirmed:
            self._proven = min(self._proven, self._rate)
        else:
            self._rate = max(self._rate, _PROVEN_SHARE * self._proven)

    def back_off(self, interval: Interval) -> None:
        """Lower the rate briefly, after a rejection that may have another cause."""
        seconds = max(interval.seconds, _MIN_SECONDS)
        demand = max(_MIN_DEMAND, self._demand(interval))
        rate = self.rate_at(seconds) * demand * _BACK_OFF
        self._set_curve(rate, _BACK_OFF_WIDTH, 0.0, 1.0, interval.wait)

    def speed_up(self, wait: float) -> None:
        """Double the rate every `wait` seconds, because rejections do not depend on it."""
        self._set_curve(self._rate, 1.0, 0.0, 1.0, wait)

    def _choose(self, interval: Interval) -> None:
        seconds, wait = max(interval.seconds, _MIN_SECONDS), interval.wait
        demand = self._demand(interval)
        if interval.is_short:
            rate = _WINDOW_MARGIN * interval.admitted / wait
            if interval.late_admitted >= _MIN_LATE:
                share = interval.late_admitted / (interval.late_admitted + interval.late_rejected)
                rate = max(rate, self.rate_at(seconds) * demand * min(_MAX_LATE_SHARE, share))
            self._set_curve(rate, _QUICK_WIDTH, _MIN_HOLD, _QUICK_STRETCH, wait)
        elif seconds < wait:
            # The calls of one window; the longer it took, the more of a second window.
            window = interval.admitted / wait
            low = max(window * (1 - seconds / wait / 2), self._lowered(interval) * demand)
            self._search(min(low, window), max(low, window), wait)
        else:
            low = self._lowered(interval) * demand
            if self.explains(interval):
                low = self.rate_at(seconds - _ADMITTED_BEFORE * wait) * demand
            high = self.rate_at(seconds - _REJECTED_BEFORE * wait) * demand
            self._search(max(low, interval.admitted / (seconds + wait)), high, wait)

    def _demand(self, interval: Interval) -> float:
        """Return the calls that were sent as a share of those that the curve allowed."""
        seconds = max(interval.seconds, _MIN_SECONDS)
        x = max(0.0, seconds - self._hold) / self._stretch
        # The integral of the curve.
        extra = self._width * x**2 / 2 + max(0.0, x - 1) ** 4 / 4
        return min(1.0, interval.admitted / (self._rate * (seconds + self._stretch * extra)))

    def _lowered(self, interval: Interval) -> float:
        """Return the constant rate of the curve, lowered by the width of its range."""
        if not self._hold:
            return 0.0
        steps = 2 if interval.seconds < _NEARLY_PROVEN * interval.wait else 1
        return self._rate / (1 + steps * self._width)

    def _search(self, low: float, high: float, wait: float) -> None:
        """Search for the limit in a range, from its lower end."""
        low = max(low * _MARGIN - _MARGIN_CALLS / wait, 1 / wait)
        width = max(high / low - 1, _MIN_WIDTH)
        hold = max(_MIN_HOLD, min(_MAX_HOLD, 0.05 / width**2))
        stretch = max(_MIN_STRETCH, min(_MAX_STRETCH, 2 / width))
        self._set_curve(low, width, hold, stretch, wait)

    def _set_curve(
        self, rate: float, width: float, hold: float, stretch: float, wait: float
    ) -> None:
        """Set the curve.

        Args:
            rate: Initial calls per second.
            width: Width of the range above `rate`, as a share of it.
            hold: How long the rate is constant, in units of `wait`.
            stretch: How long it rises through the range, in units of `wait`.
            wait: Seconds that the API asked to wait.
        """
        self._rate = max(rate, 1 / wait)
        self._width = width
        self._hold = hold * wait
        self._stretch = stretch * wait
