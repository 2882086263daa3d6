"""The key of a row of a job: the same whenever, and wherever, the job is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefactor_http.idempotency import derive_from

# What names a row, whatever else it holds and wherever it stands.
NAMES = ("id", "external_identifier")


def row_key(job: str) -> Callable[[int, dict[str, Any], bytes], str]:
    """Make what derives the keys of a job's rows.

    Args:
        job: Name of the job.

    Returns:
        What takes a row's position, its fields, and these encoded; the key is derived from the
        first of `NAMES` that the row has, or else from its position and content.
    """
    by_place = derive_from("register", job)
    by_name = {name: derive_from("register", job, name) for name in NAMES}

    def derive(index: int, fields: dict[str, Any], own: bytes) -> str:
        for name, derive_by_name in by_name.items():
            value = fields.get(name)
            if value is not None:
                return derive_by_name(str(value))
        return by_place(index, own)

    return derive
