"""Checks whether a row can be sent, and derives its key."""

from __future__ import annotations

from typing import Any

from prefactor_http._bulk.rows import KEY, RowKeys
from prefactor_http._http.encoding import canonical
from prefactor_http.cli.register.fields import (
    PARTS,
    check_fields,
    check_keys,
    error_message,
    known_fields,
)
from prefactor_http.cli.register.row_reader import Row
from prefactor_http.cli.register.unknown_keys import KeyCheck
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key, new_key


class RowValidator:
    """Checks rows and adds their keys.

    Args:
        shared: Valid fields that a row takes if it lacks them.
        job: Name that keys are derived from; None for random keys.
        key_check: Checks the keys of the objects in rows.
    """

    def __init__(self, shared: dict[str, Any], job: str | None, key_check: KeyCheck) -> None:
        self._required = [field for field in PARTS if field not in shared]
        # `register_many` would derive other keys: it counts only the rows that are sent.
        self._row_keys = None if job is None else RowKeys(job)
        self._key_check = key_check

    def prepare(self, row: Row) -> tuple[str | None, bytes]:
        """Check a row; set its fields to those that are sent, or set its error.

        Returns:
            The key, and the canonical encoding of the fields without the key; None and nothing for
            a row with an error.
        """
        if row.fields is None:
            return None, b""
        try:
            fields = known_fields(row.fields)
            row.warnings = check_keys(fields, self._key_check)
            check_fields(fields, self._required)
            own_key = fields.pop(KEY, None)
            if own_key is not None:
                row.has_own_key = True
                check_key(own_key, min_length=MIN_LENGTH_IN_BULK)
            content = canonical(fields)  # for the key and for the duplicate check
            key = own_key or self._new_key(row.index, fields, content)
        except (TypeError, ValueError) as exc:
            row.error = error_message(exc)
            return None, b""
        fields[KEY] = key
        row.fields = fields
        return key, content

    def _new_key(self, index: int, fields: dict[str, Any], content: bytes) -> str:
        if self._row_keys is None:
            return new_key()
        for name, derive in self._row_keys.by_name.items():
            if name in fields:
                return derive(fields[name])
        return self._row_keys.by_position(index, content)
