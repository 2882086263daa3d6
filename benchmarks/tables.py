"""Tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

# A figure of a results file: a number, or a spread as a dict.
Figure = Any


class Table(Struct):
    """A table of text.

    Attributes:
        title: The title.
        columns: The column headings.
        rows: The cells of each row.
        left: Number of leading columns that are aligned left; the others are aligned right.
        note: A note for the reader, or an empty string.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""


class Finding(Struct):
    """A figure of the summary.

    Attributes:
        what: What was measured.
        figure: The measured figure.
        digits: Number of decimals to show.
    """

    what: str
    figure: Figure
    digits: int = 2


def show(figure: Figure, digits: int = 2) -> str:
    """Format a figure, with quartiles if it is a spread."""
    if not isinstance(figure, dict):
        return f"{figure:,.{digits}f}"
    low, high = figure["low"], figure["high"]
    return f"{figure['median']:,.{digits}f} [{low:,.{digits}f}–{high:,.{digits}f}]"  # noqa: RUF001


def summary(findings: Sequence[Finding]) -> Table:
    rows = [(each.what, show(each.figure, each.digits)) for each in findings]
    return Table("Summary", ("prefactor_http 1.0", "measured"), rows)


def as_text(table: Table) -> str:
    grid = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in grid) for column in range(len(table.columns))]
    lines = [table.title, "─" * max(len(table.title), sum(widths) + 2 * len(widths) - 2)]
    for row in grid:
        cells = [
            cell.ljust(width) if column < table.left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    if table.note:
        lines.append(table.note)
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    lines = [f"**{table.title}**", ""] if table.title else []
    if table.note:
        lines += [table.note, ""]
    lines.append(_markdown_row(table.columns))
    lines.append(
        _markdown_row(["---:" if n >= table.left else "---" for n in range(len(table.columns))])
    )
    lines += [_markdown_row(row) for row in table.rows]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
