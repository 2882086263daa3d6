"""How many calls a second the API is believed to bear, measured whenever it refuses one."""

from __future__ import annotations

import math

_GUESS = 500.0
_GUESS_STRETCH = 2.0
_STRETCH = 20
_START_SHARE = 0.92
_PLATEAU_SHARE = 0.98
_SHORTEST_WAIT = 0.001


class Rate:
    """A rate that grows along a cubic curve (as in CUBIC) from one refusal to the next.

    A refusal tells what the API bears: at most the calls that it answered since the gate opened,
    over that time (or over the wait that it asks for, where that is longer), and at least the
    same over both. From the middle the rate bends into a plateau just under the most, stays there
    longest, and then grows faster and faster, to find out whether the API bears more by now. The
    curve is as long as 20 waits or so: what asks for a minute's rest is tried less often than what
    asks for a second's. Where fewer than 20 calls were answered it is as many waits long: so little
    says little, and a limit that was a mistake or has gone must not hold a client for hours.

    Nothing is counted before the first refusal. After it the rate is a guess: high enough that a
    second refusal soon tells more, low enough that few requests are in flight when it comes.
    """

    def __init__(self) -> None:
        self._shape(_GUESS, _GUESS, _GUESS_STRETCH)

    def at(self, seconds: float) -> float:
        """Tell how many calls a second may be made, that long after the gate opened."""
        way = (seconds - self._bend) / self._stretch
        return self._plateau * (1 + way * way * way)

    @property
    def patience(self) -> float:
        """Seconds without a refusal after which it is twice its plateau."""
        return self._bend + self._stretch

    def measure(self, answered: int, seconds: float, wait: float) -> None:
        """Take note of a refusal.

        Args:
            answered: Calls that were not refused since the gate opened.
            seconds: How long it had been open.
            wait: How long it is closed now.
        """
        wait = max(wait, _SHORTEST_WAIT)
        if not answered:  # nothing is borne for the moment, which says little about later
            start = max(self._start / 2, min(self._start, 1 / wait))
            self._shape(start, self._plateau, self._stretch)
            return
        most = answered / max(seconds, wait)
        least = answered / (seconds + wait)
        if seconds > wait:  # less than half of what was allowed: there was no demand for more
            least = max(least, self.at(seconds) / 2)
            most = max(most, least)
        stretch = min(_STRETCH, answered) * wait
        self._shape(_START_SHARE * (least + most) / 2, _PLATEAU_SHARE * most, stretch)

    def _shape(self, start: float, plateau: float, stretch: float) -> None:
        self._start = start
        self._plateau = plateau
        self._stretch = stretch
        self._bend = stretch * math.cbrt(1 - start / plateau)
