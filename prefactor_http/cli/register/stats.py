"""Counts of a job: outcomes and speed."""

from __future__ import annotations

from typing import BinaryIO

from prefactor_http.cli.api_stats import ApiStats


class JobStats(ApiStats):
    """Counts of a job.

    Attributes:
        file: The file with the rows; its position is the progress of the job.
        size: Size of the file in bytes.
        ok: Rows registered in this run.
        refused: Rows refused in this run.
        unknown: Rows that may have been registered.
        duplicates: Rows that repeat the name of an earlier row.
        changed_duplicates: Those of them whose content differs from that of the earlier row.
        ok_before: Rows registered in earlier runs.
        refused_before: Rows refused in earlier runs.
    """

    file: BinaryIO
    size: int
    ok: int = 0
    refused: int = 0
    unknown: int = 0
    duplicates: int = 0
    changed_duplicates: int = 0
    ok_before: int = 0
    refused_before: int = 0

    @property
    def rate(self) -> float:
        """Rows per second, in this run."""
        return (self.ok + self.refused + self.unknown) / self.seconds

    @property
    def share(self) -> float:
        """Share of the file that was read, 0 to 1."""
        return min(self.file.tell() / self.size, 1.0) if self.size else 1.0

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

    def summary(self) -> str:
        return f"{self.counts()}, {self.rate:,.0f} rows/s"
