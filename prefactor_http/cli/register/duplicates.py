"""Finds rows that repeat the name of an earlier row.

A name is an ``id``, an ``external_identifier`` or an idempotency key from the file. The API
registers one instance for each name, so a second row with a name must not count as registered.
If two different names have the same hash, a row is reported as a duplicate by mistake; it is never
lost silently.
"""

from __future__ import annotations

from array import array
from typing import Any

from msgspec import Struct

from prefactor_http._bulk.duplicates import Duplicates
from prefactor_http._bulk.rows import KEY, NAMES
from prefactor_http.cli.register.row_reader import Row

_NAMES = (KEY, *NAMES)


class DuplicateRow(Struct, frozen=True):
    """A row that repeats the name of an earlier row.

    Attributes:
        field: The field that is repeated.
        value: The name.
        line: Line of the first row with this name.
        index: Position of that row.
        is_same: Whether the two rows have the same content.
    """

    field: str
    value: str
    line: int
    index: int
    is_same: bool


class DuplicateCheck:
    """Remembers the names of rows and finds repeated ones.

    Args:
        agent_id: Agent of the rows without one.
        has_job: Whether keys are derived from names. A name then has the same key for all agents;
            otherwise each agent may use an external identifier once.
    """

    def __init__(self, agent_id: str | None, *, has_job: bool) -> None:
        self._agent_id = agent_id
        self._has_job = has_job
        self._seen = Duplicates()
        self._lines = array("I")  # by position

    def find(self, row: Row, content: bytes) -> DuplicateRow | None:
        """Find an earlier row with a name of this row; if there is none, remember this row.

        Args:
            row: A valid row.
            content: The canonical encoding of its fields without the key.
        """
        fields = row.fields
        assert fields is not None  # noqa: S101 # the row is valid
        names = [
            (field, self._scoped_name(field, fields))
            for field in _NAMES
            if field in fields and (field != KEY or row.has_own_key)
        ]
        if len(names) > 1:
            # A row with one repeated name is not sent, so none of its names must be remembered.
            for field, name in names:
                first = self._seen.get(name, content)
                if first is not None:
                    return self._duplicate(field, fields, first.index, is_same=first.is_same)
        for field, name in names:
            first = self._seen.find(name, row.index, content)
            if first is not None and first.index != row.index:
                return self._duplicate(field, fields, first.index, is_same=first.is_same)
        lines = self._lines
        while len(lines) < row.index:  # invalid rows and duplicates
            lines.append(0)
        lines.append(row.line)
        return None

    def _scoped_name(self, field: str, fields: dict[str, Any]) -> str:
        scope = ""
        if field == "external_identifier" and not self._has_job:
            scope = fields.get("agent_id") or self._agent_id or ""
        return f"{field}\0{scope}\0{fields[field]}"

    def _duplicate(
        self, field: str, fields: dict[str, Any], index: int, *, is_same: bool
    ) -> DuplicateRow:
        return DuplicateRow(field, fields[field], self._lines[index], index, is_same)
