"""Counts of a job: outcomes, speed, and how long the API has been down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

from msgspec import Struct

from prefactor_http import Attempt

_DOWN_AFTER = 2.0  # seconds; a single lost response is not an outage
_TOO_MANY_REQUESTS = 429


class JobStats(Struct):
    """Counts of a job.

    Attributes:
        file: The file with the rows; its position is the progress of the job.
        size: Size of the file in bytes.
        started: When the job started, on the monotonic clock.
        ok: Rows registered in this run.
        refused: Rows refused in this run.
        unknown: Rows that may have been registered.
        duplicates: Rows that repeat the name of an earlier row.
        changed_duplicates: Those of them whose content differs from that of the earlier row.
        ok_before: Rows registered in earlier runs.
        refused_before: Rows refused in earlier runs.
        retried: Failed attempts.
        answered: When the API last answered.
        failing_since: When the API stopped answering; None while it answers.
        clock: The monotonic clock.
    """

    file: BinaryIO
    size: int
    started: float
    ok: int = 0
    refused: int = 0
    unknown: int = 0
    duplicates: int = 0
    changed_duplicates: int = 0
    ok_before: int = 0
    refused_before: int = 0
    retried: int = 0
    answered: float | None = None
    failing_since: float | None = None
    clock: Callable[[], float] = time.monotonic

    @property
    def seconds(self) -> float:
        """Duration of this run, at least a millisecond."""
        return max(self.clock() - self.started, 1e-3)

    @property
    def rate(self) -> float:
        """Rows per second, in this run."""
        return (self.ok + self.refused + self.unknown) / self.seconds

    @property
    def share(self) -> float:
        """Share of the file that was read, 0 to 1."""
        return min(self.file.tell() / self.size, 1.0) if self.size else 1.0

    @property
    def seconds_down(self) -> float | None:
        """Seconds that the API has been down; None while it answers."""
        since = self.failing_since
        if since is None or self.clock() - since < _DOWN_AFTER:
            return None
        return self.clock() - since

    def record_attempt(self, attempt: Attempt) -> None:
        now = self.clock()
        self.retried += attempt.error is not None
        if attempt.error is None or attempt.status == _TOO_MANY_REQUESTS:
            self.answered = now
            self.failing_since = None
        elif self.failing_since is None:
            # Other attempts may have been answered while this one waited for its response.
            self.failing_since = max(now - attempt.seconds, self.answered or self.started)

    def seconds_left(self, share_at_start: float) -> float | None:
        """Estimate the seconds until the file is read; None if there is no basis for it."""
        if self.seconds_down is not None:
            return None
        done = self.share - share_at_start
        rest = 1 - self.share
        return rest / done * self.seconds if done > 0 and rest > 0 else None

    def counts(self) -> str:
        parts = [
            f"{self.ok + self.ok_before:,} ok",
            f"{self.refused + self.refused_before:,} refused",
        ]
        if self.duplicates:
            parts.append(f"{self.duplicates:,} duplicate")
        if self.unknown:
            parts.append(f"{self.unknown:,} unknown")
        if self.retried:
            parts.append(f"{self.retried:,} retried")
        return ", ".join(parts)
