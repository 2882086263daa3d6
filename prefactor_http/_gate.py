"""The gate before a client's attempts: closed while the API asks to be left alone."""

from __future__ import annotations

from prefactor_http._clock import Clock


class Gate:
    """Holds every call of a client back after one of them was told to wait.

    Args:
        clock: Where the time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._opens_at: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether a call has to ask `wait_time`."""
        return self._opens_at is not None

    def close_for(self, seconds: float) -> None:
        """Hold calls back for that many seconds; a longer closing stands."""
        opens_at = self._clock.monotonic() + seconds
        if self._opens_at is None or opens_at > self._opens_at:
            self._opens_at = opens_at

    def wait_time(self) -> float:
        """Tell how many seconds to wait before asking again; 0 when the gate is open."""
        if self._opens_at is None:
            return 0.0
        seconds = self._opens_at - self._clock.monotonic()
        if seconds > 0:
            return seconds
        self._opens_at = None
        return 0.0
