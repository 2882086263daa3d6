"""Whether a row can be sent, and with which key."""

from __future__ import annotations

from typing import Any

from prefactor_http._bulk.rows import KEY, RowKeys
from prefactor_http.cli.register.fields import (
    PARTS,
    check_fields,
    check_keys,
    known_fields,
    problem_text,
)
from prefactor_http.cli.register.rows import Row
from prefactor_http.cli.register.unknown_keys import KeyCheck
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key, new_key


class RowCheck:
    """Checks rows and gives them keys.

    Args:
        shared: Fields that a row takes where it lacks them, checked already.
        job: Name that keys are derived with; None for random keys.
        key_check: Checks the keys of the objects in rows.
    """

    def __init__(self, shared: dict[str, Any], job: str | None, key_check: KeyCheck) -> None:
        self._required = [field for field in PARTS if field not in shared]
        # Not left to `register_many`, which would count only the rows that are sent.
        self._derive = None if job is None else RowKeys(job)
        self._key_check = key_check

    def prepare(self, row: Row) -> str | None:
        """Make a row ready to be sent, or note its problem.

        Returns:
            Its key; None for a row with a problem.
        """
        if row.fields is None:
            return None
        try:
            fields = known_fields(row.fields)
            row.warnings = check_keys(fields, self._key_check)
            key = self._check(row, fields)
        except (TypeError, ValueError) as exc:
            row.problem = problem_text(exc)
            return None
        row.fields = {**fields, KEY: key}
        return key

    def _check(self, row: Row, fields: dict[str, Any]) -> str:
        check_fields(fields, self._required)
        key = fields.pop(KEY, None)
        if key is not None:
            row.has_own_key = True
            return check_key(key, min_length=MIN_LENGTH_IN_BULK)
        if self._derive is None:
            return new_key()
        return self._derive(row.index, fields)
