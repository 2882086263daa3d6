"""Estimates how many calls per second the API admits.

The API tells its limit only by rejecting calls, so the estimate follows a search. The rate at
which calls are sent is a curve over the time since the last pause: constant at first, then rising
slowly through the range in which the limit is expected, then ever faster, because the limit must
have risen. The next rejection stops the search and gives a new range:

- The rate shortly before the rejection was admitted, the rate just before it was not. The limit
  lies between the two. The next curve starts at the lower end. It stays there the longer, and
  then rises the more slowly, the narrower the range is: a wide range is worth a test soon, while a
  narrow one costs a pause and has little to win.
- A rejection while the rate was constant says that the estimate was too high, so the range is
  moved down, at most to what was admitted per second with the pause included (which is the rate
  at which a token bucket is filled).
- A rejection sooner than after one `Retry-After` leaves only the number of calls. The API most
  likely counts calls in windows of that length, so that number is what one window admits, or two
  of them when the run may have reached into the next one.
- Where some of the calls in flight at the rejection are admitted and others are not, the limit is
  that share of the current rate (a token bucket that is empty).

The first curve is a guess: high enough that the next rejection comes soon, low enough that few
calls are in flight by then.
"""

from __future__ import annotations

from msgspec import Struct

_FIRST_RATE, _FIRST_STRETCH = 500.0, 0.25
_MIN_SECONDS = 0.001
# Rejections that are not explained by the rate lower it only for a moment.
_BACK_OFF, _MIN_DEMAND = 0.8, 0.5
# In units of the pause:
_MIN_HOLD, _MAX_HOLD = 1.0, 60.0
_MIN_STRETCH, _MAX_STRETCH, _QUICK_STRETCH = 3.0, 10.0, 4.0
_ADMITTED_BEFORE, _REJECTED_BEFORE = 1.25, 0.5
_PROVEN, _BARELY_PROVEN = 2.5, 1.5
# Shares of a rate:
_MARGIN, _MARGIN_CALLS, _WINDOW_MARGIN = 0.99, 0.5, 0.96
_MIN_RANGE, _QUICK_RANGE = 0.03, 0.15
_MAX_LATE_SHARE, _MIN_LATE = 0.8, 3
_PROVEN_SHARE = 0.9


class Run(Struct):
    """The calls between the end of a pause and the rejection that started the next one.

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
        """Whether the rejection came long before a window of the API can have ended."""
        return self.seconds < self.wait / 2

    @property
    def is_long(self) -> bool:
        """Whether at least one whole window of the API went by before the rejection."""
        return self.seconds > _PROVEN * self.wait

    @property
    def is_isolated(self) -> bool:
        """Whether the calls in flight at the rejection were admitted, unlike at a limit."""
        return self.late_admitted >= 3 * self.late_rejected


class RateEstimator:
    """The rate at which calls may be sent, by the time since the last pause."""

    def __init__(self) -> None:
        self._proven = 0.0
        self._set_curve(_FIRST_RATE, 0.5, 0.0, _FIRST_STRETCH, 1.0)

    def rate_at(self, seconds: float) -> float:
        """Return the calls per second that may be sent, so long after a pause."""
        x = max(0.0, seconds - self._hold) / self._stretch
        return self._rate * (1 + self._range * x + max(0.0, x - 1) ** 3)

    @property
    def patience(self) -> float:
        """Seconds without a rejection after which there may be no limit any more."""
        return self._hold + 2 * self._stretch

    def explains(self, run: Run) -> bool:
        """Return whether a rejection is due to the rate, because it was higher than before."""
        return run.is_long and run.seconds > self._hold

    def record_rejection(self, run: Run, *, is_confirmed: bool) -> None:
        """Choose the next curve after a rejection at the API's limit.

        Args:
            run: The calls until then.
            is_confirmed: Whether anything but the rejection itself shows the limit.
        """
        if run.is_long:
            self._proven = max(self._proven, run.admitted / run.seconds)
        self._choose(run)
        if is_confirmed:
            self._proven = min(self._proven, self._rate)
        else:
            self._rate = max(self._rate, _PROVEN_SHARE * self._proven)

    def _choose(self, run: Run) -> None:
        seconds, wait = max(run.seconds, _MIN_SECONDS), run.wait
        demand = min(1.0, run.admitted / self._allowed(seconds))
        if run.is_short:
            rate = _WINDOW_MARGIN * run.admitted / wait
            if run.late_admitted >= _MIN_LATE:
                share = run.late_admitted / (run.late_admitted + run.late_rejected)
                rate = max(rate, self.rate_at(seconds) * demand * min(_MAX_LATE_SHARE, share))
            self._set_curve(rate, _QUICK_RANGE, _MIN_HOLD, _QUICK_STRETCH, wait)
        elif seconds < wait:
            high = run.admitted / wait
            low = max(high * (1 - seconds / wait / 2), self._lowered(run) * demand)
            self._search(min(low, high), max(low, high), wait)
        else:
            low = self._lowered(run) * demand
            if self.explains(run):
                low = self.rate_at(seconds - _ADMITTED_BEFORE * wait) * demand
            high = self.rate_at(seconds - _REJECTED_BEFORE * wait) * demand
            self._search(max(low, run.admitted / (seconds + wait)), high, wait)

    def _lowered(self, run: Run) -> float:
        """Return the constant rate of the curve, moved down by the width of its range."""
        if not self._hold:
            return 0.0
        return self._rate / (
            1 + self._range * (2 if run.seconds < _BARELY_PROVEN * run.wait else 1)
        )

    def back_off(self, run: Run) -> None:
        """Lower the rate for a moment, after a rejection that may have another cause."""
        seconds = max(run.seconds, _MIN_SECONDS)
        demand = min(1.0, max(_MIN_DEMAND, run.admitted / self._allowed(seconds)))
        self._set_curve(self.rate_at(seconds) * demand * _BACK_OFF, 0.25, 0.0, 1.0, run.wait)

    def speed_up(self, wait: float) -> None:
        """Raise the rate quickly, after rejections that do not depend on it."""
        self._set_curve(self._rate, 1.0, 0.0, 1.0, wait)

    def _search(self, low: float, high: float, wait: float) -> None:
        low = max(low * _MARGIN - _MARGIN_CALLS / wait, 1 / wait)
        width = max(high / low - 1, _MIN_RANGE)
        hold = max(_MIN_HOLD, min(_MAX_HOLD, 0.05 / width**2))
        stretch = max(_MIN_STRETCH, min(_MAX_STRETCH, 2 / width))
        self._set_curve(low, width, hold, stretch, wait)

    def _set_curve(
        self, rate: float, width: float, hold: float, stretch: float, wait: float
    ) -> None:
        self._rate = max(rate, 1 / wait)
        self._range = width
        self._hold = hold * wait
        self._stretch = stretch * wait

    def _allowed(self, seconds: float) -> float:
        """Return the calls that may have been sent until then: the integral of the curve."""
        x = max(0.0, seconds - self._hold) / self._stretch
        extra = self._range * x * x / 2 + max(0.0, x - 1) ** 4 / 4
        return self._rate * (seconds + self._stretch * extra)
