"""The gate before a client's attempts: closed while the API asks to be left alone, narrow after."""

from __future__ import annotations

from prefactor_http._clock import Clock
from prefactor_http._rate import Rate

# Timers are late by a millisecond or two: so much is made up for, and no more after a pause.
_SLACK = 0.02


class Gate:
    """Holds every call of a client back after one of them was told to wait.

    Where that was because calls are too many, they do not rush in when the wait is over, or most
    would only be refused again: they pass one after another, at the `Rate` that the API is believed
    to bear. Each further refusal closes the gate again and corrects the rate. Once there was none
    for long, and calls come more slowly than they may, the gate stands open.

    Args:
        clock: Where the time comes from.

    Attributes:
        is_closed: Whether a call has to ask `wait_time`; also while the gate is narrow.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_closed = False
        self._is_narrow = False
        self._is_limit = False  # or it is closed because the API is away
        self._rate = Rate()
        self._passed = self._refused = 0  # since it became narrow
        self._closed_at = self._opens_at = self._opened_at = self._next_at = 0.0

    def close_for(self, seconds: float) -> None:
        """Hold calls back for that many seconds, as they are too many; a longer closing stands."""
        now = self._clock.monotonic()
        opens_at = now + seconds
        self._refused += 1
        if self.is_closed and not self._is_narrow:
            opens_at = max(self._opens_at, opens_at)
            if self._is_limit:
                self._opens_at = opens_at
                return
        if not self._is_narrow:
            self._rate = Rate()
            self._passed = 0
        self.is_closed, self._is_narrow, self._is_limit = True, False, True
        self._closed_at, self._opens_at = now, opens_at

    def hold_for(self, seconds: float) -> None:
        """Hold calls back for that many seconds, as the API is away; then all goes on as before."""
        until = self._clock.monotonic() + seconds
        if self._is_narrow:
            self._next_at = max(self._next_at, until)
            return
        self._opens_at = max(self._opens_at, until) if self.is_closed else until
        self.is_closed = True

    def wait_time(self) -> float:
        """Tell how many seconds to wait before asking again; 0 lets one call pass."""
        if not self.is_closed:
            return 0.0
        now = self._clock.monotonic()
        if not self._is_narrow:
            if now < self._opens_at:
                return self._opens_at - now
            if not self._is_limit:
                self.is_closed = False
                return 0.0
            self._narrow()
        late = now - self._next_at
        if late < 0:
            return -late
        seconds = now - self._opened_at
        if late > _SLACK and seconds > self._rate.patience:
            self.is_closed = self._is_narrow = self._is_limit = False
            return 0.0
        self._next_at = max(self._next_at, now - _SLACK) + 1 / self._rate.at(seconds)
        self._passed += 1
        return 0.0

    def _narrow(self) -> None:
        opens_at = self._opens_at
        if self._passed:  # none had when it was open before: nothing was counted
            answered = max(0, self._passed - self._refused)
            open_for = self._closed_at - self._opened_at
            self._rate.measure(answered, open_for, opens_at - self._closed_at)
        self._is_narrow = True
        self._passed = self._refused = 0
        self._opened_at = self._next_at = opens_at
