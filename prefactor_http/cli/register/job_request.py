"""What a job registers, and how."""

from __future__ import annotations

from typing import Any, BinaryIO

from msgspec import Struct

from prefactor_http.cli.register.unknown_keys import KeyCheck


class JobOptions(Struct, frozen=True):
    """How to run a job.

    Attributes:
        concurrency: Maximum number of requests in flight.
        max_failures: Number of failed rows after which the job stops; None for no limit.
        max_outage: Seconds to wait for an API that is down.
        deadline: Seconds after which the job stops; None for no limit.
        dry_run: Whether to check the rows and send nothing.
    """

    concurrency: int
    max_failures: int | None
    max_outage: float
    deadline: float | None
    dry_run: bool


class JobRequest(Struct, frozen=True):
    """What to register, and how.

    Attributes:
        file: The file with the rows, seekable.
        name: Name of the file in messages.
        format: ``jsonl`` or ``csv``.
        shared: Fields that a row takes if it lacks them.
        job: Name of the job; None for random keys.
        out: The results file; None for none.
        key_check: Checks the keys of objects in rows.
        options: How to run.
    """

    file: BinaryIO
    name: str
    format: str
    shared: dict[str, Any]
    job: str | None
    out: str | None
    key_check: KeyCheck
    options: JobOptions

    @property
    def next_step(self) -> str:
        """What to do if not all rows are registered."""
        if self.job is None:
            return (
                "Some rows may be registered already. Without --job, running again registers them "
                "again."
            )
        if self.out is None:
            return "Run the same command again: no row is registered twice."
        return "Run the same command again to resume."
