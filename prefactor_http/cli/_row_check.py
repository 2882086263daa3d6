"""Whether a row can be sent, and with which key."""

from __future__ import annotations

from typing import Any

import msgspec

from prefactor_http._row_key import RowKeys, given_fields
from prefactor_http.cli._register_file import RegisterFile
from prefactor_http.cli._rows import Row, RowError
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key, new_key

_KEY = "idempotency_key"


class RowCheck:
    """Checks rows and gives them keys.

    Args:
        shared: Fields that a row takes where it lacks them, checked already.
        job: Name that keys are derived with; None for random keys.
    """

    def __init__(self, shared: dict[str, Any], job: str | None) -> None:
        # Stands for fields that a row lacks; the shared ones need no second look.
        self._given: dict[str, Any] = {
            name: {} for name in ("agent_version", "agent_schema_version") if name in shared
        }
        # Not left to `register_many`, which would count only the rows that are sent.
        self._derive = None if job is None else RowKeys(job)

    def prepare(self, row: Row) -> str | None:
        """Make a row ready to be sent, or note its problem.

        Returns:
            Its key; None for a row with a problem.
        """
        if row.fields is None:
            return None
        try:
            fields = _given(row.fields)
            key = self._check(fields, row.index)
        except RowError as exc:
            row.problem = str(exc)
            return None
        row.fields = {**fields, _KEY: key}
        return key

    def _check(self, fields: dict[str, Any], index: int) -> str:
        try:
            msgspec.convert({**self._given, **fields}, RegisterFile)
            key = fields.pop(_KEY, None)
            if key is not None:
                return check_key(key, min_length=MIN_LENGTH_IN_BULK)
            if self._derive is None:
                return new_key()
            return self._derive(index, fields)
        except msgspec.ValidationError as exc:
            problem, _, place = str(exc).partition(" - at ")
            field = place.strip("`").removeprefix("$.")
            raise RowError(f"{field}: {problem}" if field else problem) from None
        except ValueError as exc:
            raise RowError(str(exc)) from None


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        return given_fields(fields)
    except TypeError as exc:
        raise RowError(str(exc)) from None
