"""Filters, sorts and paginates lists (contract §2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefactor_http.testing.resources.account import Table
from prefactor_http.testing.resources.fields import Fields
from prefactor_http.testing.resources.response import JsonObject, Success

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100


def page(
    fields: Fields,
    table: Table,
    *,
    wanted: Mapping[str, object],
    sortable: Collection[str],
    summary: Sequence[str] | None = None,
) -> Success:
    """Return one page of a list.

    Args:
        fields: The query, with ``pagination`` and ``sorting``.
        table: All resources.
        wanted: Filters: field name to value; None matches every value.
        sortable: The fields by which the list can be sorted.
        summary: The fields of a summary; all fields if omitted.

    Raises:
        ApiError: 422, the query is invalid.
    """
    offset, size = _pagination(fields)
    field, descending = _sorting(fields, sortable)
    fields.check()
    filters = [(name, value) for name, value in wanted.items() if value is not None]
    rows = [row for row in table.values() if all(row[name] == value for name, value in filters)]
    # Sort by id first, so that rows with equal values keep their order. Null sorts first.
    rows.sort(key=lambda row: str(row["id"]), reverse=descending)
    if field != "id":
        rows.sort(key=lambda row: _sort_key(row.get(field)), reverse=descending)
    shown = rows[offset : offset + size]
    return Success(
        None,
        {
            "summaries": [_summary(row, summary) for row in shown],
            "pagination": _position(len(rows), len(shown), offset, size),
            "sorting": {"field": field, "direction": "desc" if descending else "asc"},
        },
    )


def _pagination(fields: Fields) -> tuple[int, int]:
    pagination = fields.within("pagination")
    if pagination is None:
        return 0, DEFAULT_PAGE_SIZE
    return (
        pagination.integer("offset", default=0, at_least=0),
        pagination.integer(
            "page_size", default=DEFAULT_PAGE_SIZE, at_least=1, at_most=MAX_PAGE_SIZE
        ),
    )


def _sorting(fields: Fields, sortable: Collection[str]) -> tuple[str, bool]:
    sorting = fields.value("sorting")
    if sorting is None:
        return "id", False
    if isinstance(sorting, str):
        field, descending = sorting.removeprefix("-"), sorting.startswith("-")
        if field not in sortable:
            fields.refuse("sorting", f"must be one of {', '.join(sorted(sortable))}")
        return field, descending
    nested = fields.within("sorting")
    if nested is None:
        return "id", False
    chosen = nested.required_choice("field", sortable)
    return chosen, nested.choice("direction", ("asc", "desc")) == "desc"


def _sort_key(value: Any) -> tuple[bool, str]:
    return value is not None, str(value)


def _summary(row: JsonObject, fields: Sequence[str] | None) -> JsonObject:
    return dict(row) if fields is None else {name: row[name] for name in fields}


def _position(total: int, shown: int, offset: int, size: int) -> JsonObject:
    return {
        "item_count": total,
        "item_start": offset + 1 if shown else 0,
        "item_end": offset + shown if shown else 0,
        "page_count": -(-total // size),
        "page_index": offset // size + 1,
        "page_offset": offset,
        "page_size": size,
        "next_page_offset": offset + size if offset + size < total else None,
        "previous_page_offset": max(0, offset - size) if offset else None,
    }
