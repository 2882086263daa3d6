"""Counts of a drain."""

from __future__ import annotations

from prefactor_http.cli.api_stats import ApiStats
from prefactor_http.outbox.rows import OutboxStats


class DrainStats(ApiStats):
    """Counts of a drain.

    Attributes:
        before: The counters of the file when the drain started.
        now: The counters of the file now.
    """

    before: OutboxStats
    now: OutboxStats

    @property
    def delivered(self) -> int:
        """Writes that were delivered meanwhile."""
        return self.now.delivered - self.before.delivered

    @property
    def dead(self) -> int:
        """Writes that became dead letters meanwhile."""
        return max(0, self.now.dead - self.before.dead)

    @property
    def share(self) -> float:
        """Share of the writes that are done, 0 to 1."""
        done = self.delivered + self.dead
        total = done + self.now.pending
        return done / total if total else 1.0

    def counts(self) -> str:
        parts = [f"{self.delivered:,} delivered", f"{self.now.pending:,} pending"]
        if self.dead:
            parts.append(f"{self.dead:,} not delivered")
        if self.retried:
            parts.append(f"{self.retried:,} retried")
        return ", ".join(parts)

    def summary(self) -> str:
        return f"{self.counts()}, {self.delivered / self.seconds:,.0f} writes/s"
