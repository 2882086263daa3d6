"""How far a job is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

from msgspec import Struct

from prefactor_http import Attempt

_AWAY_AFTER = 2.0  # seconds; a lost reply now and then is no outage
_TOO_MANY_REQUESTS = 429


class Tally(Struct):
    """Counts of a job.

    Attributes:
        file: What rows are read from; as far as it was read is as far as the job is.
        size: Bytes of it.
        started: When the job started, on the monotonic clock.
        ok: Rows registered in this run.
        refused: Rows refused in this run.
        unknown: Rows that may have been registered.
        duplicates: Rows that repeat the name of an earlier row.
        changed_duplicates: Those of them whose content differs from that of the earlier row.
        ok_before: Rows registered in runs before.
        refused_before: Rows refused in runs before.
        retried: Attempts that were, or will be, made again.
        answered: When the API answered last.
        failing_since: Since when no attempt has been answered, as far as is known.
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
        """How long this run has been going on."""
        return max(self.clock() - self.started, 1e-3)

    @property
    def rate(self) -> float:
        """Rows a second, in this run."""
        return (self.ok + self.refused + self.unknown) / self.seconds

    @property
    def share(self) -> float:
        """How much of the file was read, 0 to 1."""
        return min(self.file.tell() / self.size, 1.0) if self.size else 1.0

    @property
    def away(self) -> float | None:
        """Seconds that the API has been away; None while it answers."""
        since = self.failing_since
        if since is None or self.clock() - since < _AWAY_AFTER:
            return None
        return self.clock() - since

    def note_attempt(self, attempt: Attempt) -> None:
        """Take note of an attempt."""
        now = self.clock()
        self.retried += attempt.error is not None
        if attempt.error is None or attempt.status == _TOO_MANY_REQUESTS:
            self.answered = now
            self.failing_since = None
        elif self.failing_since is None:
            # The attempt has waited for its reply; while it did, others may have had theirs.
            self.failing_since = max(now - attempt.seconds, self.answered or self.started)

    def left(self, share_at_start: float) -> float | None:
        """Seconds until the file is read, if all goes on like this; None where none can say."""
        if self.away is not None:
            return None
        done = self.share - share_at_start
        rest = 1 - self.share
        return rest / done * self.seconds if done > 0 and rest > 0 else None

    def figures(self) -> str:
        """Say the counts in a few words."""
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
