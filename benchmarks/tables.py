"""Tables and findings, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

# A figure of the results file: a number, or a spread as a dict.
Figure = Any


class Table(Struct):
    """Rows of text under a title.

    Attributes:
        title: One line.
        columns: Heads.
        rows: Cells.
        left: Columns aligned left; the others are figures.
        note: What a reader needs to know, or nothing.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""


class Finding(Struct):
    """A figure that was set a target.

    Attributes:
        what: What was measured.
        figure: What came out.
        limit: The target: at most this.
        digits: Decimals shown.
    """

    what: str
    figure: Figure
    limit: float
    digits: int = 2

    @property
    def met(self) -> bool:
        """Whether the median is within the target."""
        return median(self.figure) <= self.limit


def median(figure: Figure) -> float:
    """Give a spread's median, or the number itself."""
    return float(figure["median"] if isinstance(figure, dict) else figure)


def show(figure: Figure, digits: int = 2) -> str:
    """Write a figure, with its quartiles where it has them."""
    if not isinstance(figure, dict):
        return f"{figure:,.{digits}f}"
    low, high = figure["low"], figure["high"]
    return f"{figure['median']:,.{digits}f} [{low:,.{digits}f}–{high:,.{digits}f}]"  # noqa: RUF001


def targets(findings: Sequence[Finding]) -> Table:
    """Put what was measured beside its target."""
    rows = [
        (
            each.what,
            show(each.figure, each.digits),
            f"≤ {each.limit:.{each.digits}f}",
            "yes" if each.met else "no",
        )
        for each in findings
    ]
    return Table("Targets", ("", "measured", "target", "met"), rows)


def as_text(table: Table) -> str:
    """Draw for a terminal."""
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
    """Draw for a README."""
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
