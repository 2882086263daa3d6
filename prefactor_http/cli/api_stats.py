"""What a long command knows of its attempts: how many failed, and since when the API is down."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable

from msgspec import Struct

from prefactor_http.events import Attempt

_DOWN_AFTER = 2.0  # seconds; a single lost response is not an outage
_TOO_MANY_REQUESTS = 429


class ApiStats(Struct, kw_only=True):
    """Counts of attempts.

    Attributes:
        started: When the command started, on the monotonic clock.
        retried: Failed attempts.
        answered: When the API last answered.
        failing_since: When the API stopped answering; None while it answers.
        clock: The monotonic clock.
    """

    started: float
    retried: int = 0
    answered: float | None = None
    failing_since: float | None = None
    clock: Callable[[], float] = time.monotonic

    @property
    @abstractmethod
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""

    @property
    def seconds(self) -> float:
        """Duration of this run, at least a millisecond."""
        return max(self.clock() - self.started, 1e-3)

    @property
    def seconds_down(self) -> float | None:
        """Seconds that the API has been down; None while it answers."""
        since = self.failing_since
        if since is None or self.clock() - since < _DOWN_AFTER:
            return None
        return self.clock() - since

    def seconds_left(self, share_at_start: float) -> float | None:
        """Estimate the seconds until the work is done; None if there is no basis for it."""
        if self.seconds_down is not None:
            return None
        done = self.share - share_at_start
        rest = 1 - self.share
        return rest / done * self.seconds if done > 0 and rest > 0 else None

    def record_attempt(self, attempt: Attempt) -> None:
        now = self.clock()
        self.retried += attempt.error is not None
        if attempt.error is None or attempt.status == _TOO_MANY_REQUESTS:
            self.answered = now
            self.failing_since = None
        elif self.failing_since is None:
            # Other attempts may have been answered while this one waited for its response.
            self.failing_since = max(now - attempt.seconds, self.answered or self.started)
