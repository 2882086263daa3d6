"""The gate before a client's attempts: closed while the API asks to be left alone."""

from __future__ import annotations

from prefactor_http._clock import Clock


class Gate:
    """Holds every call of a client back after one of them was told to wait.

    Args:
        clock: Where the time comes from.

    Attributes:
        is_closed: Whether a call has to ask `wait_time`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._opens_at = 0.0
        self.is_closed = False

    def close_for(self, seconds: float) -> None:
        """Hold calls back for that many seconds; a longer closing stands."""
        opens_at = self._clock.monotonic() + seconds
        if not self.is_closed or opens_at > self._opens_at:
            self._opens_at = opens_at
            self.is_closed = True

    def wait_time(self) -> float:
        """Tell how many seconds to wait before asking again; 0 when the gate is open."""
        seconds = self._opens_at - self._clock.monotonic() if self.is_closed else 0.0
        if seconds > 0:
            return seconds
        self.is_closed = False
        return 0.0
