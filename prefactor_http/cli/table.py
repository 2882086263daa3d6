"""Tables that fit the terminal: the least important columns are left out, long text is cut."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.cells import cell_len, set_cell_size

_GAP = "  "

STATUS_COLOURS = {
    "active": "cyan",
    "complete": "green",
    "failed": "red",
    "terminated": "magenta",
    "cancelled": "blue",
}


class Line(Struct, frozen=True):
    """A line of text in colour.

    Attributes:
        parts: Pieces of text, each with the name of its colour, ``dim``, or None.
    """

    parts: Sequence[tuple[str, str | None]]

    def __str__(self) -> str:
        return "".join(text for text, _ in self.parts)


class Screen(Struct, frozen=True):
    """Where a table is printed.

    Attributes:
        width: Number of columns; None for no limit.
        is_unicode: Whether it can display more than ASCII.
    """

    width: int | None
    is_unicode: bool

    def cut(self, text: str, width: int) -> str:
        """Shorten text to a width."""
        if cell_len(text) <= width:
            return text
        ellipsis = "…" if self.is_unicode else "..."
        return set_cell_size(text, max(width - len(ellipsis), 0)).rstrip() + ellipsis


class Column(Struct, frozen=True):
    """A column of a table.

    Attributes:
        title: Its heading.
        rank: Columns with the highest rank are left out first if the screen is too narrow.
        min_width: Text may be cut to this width; None if it must not be cut.
        is_number: Whether to align it to the right.
        is_status: Whether it is coloured by status.
    """

    title: str
    rank: int = 0
    min_width: int | None = None
    is_number: bool = False
    is_status: bool = False


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    screen: Screen,
    *,
    has_titles: bool = True,
) -> list[Line]:
    """Lay out a table.

    Args:
        columns: The columns.
        rows: The cells of each row.
        screen: Where it is printed.
        has_titles: Whether the first line has the headings.

    Returns:
        The lines, without trailing spaces. Columns without any text are left out.
    """
    titles = [[column.title for column in columns]] if has_titles else []
    widths = [
        max((cell_len(row[position]) for row in [*titles, *rows]), default=0)
        for position in range(len(columns))
    ]
    shown = [position for position in range(len(columns)) if any(row[position] for row in rows)]
    if screen.width is not None:
        shown = _fitting(columns, widths, shown, screen.width)
        for position in shown:
            min_width = columns[position].min_width
            excess = _total([widths[each] for each in shown]) - screen.width
            if min_width is not None and excess > 0:
                widths[position] = max(widths[position] - excess, min_width)
    lines = [_line(columns, row, widths, shown, screen, is_title=True) for row in titles]
    lines += [_line(columns, row, widths, shown, screen, is_title=False) for row in rows]
    return lines


def _fitting(
    columns: Sequence[Column], widths: Sequence[int], shown: list[int], available: int
) -> list[int]:
    def needed(position: int) -> int:
        min_width = columns[position].min_width
        return widths[position] if min_width is None else min(widths[position], min_width)

    shown = list(shown)
    while len(shown) > 1 and _total([needed(position) for position in shown]) > available:
        shown.remove(max(shown, key=lambda position: columns[position].rank))
    return shown


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(
    columns: Sequence[Column],
    row: Sequence[str],
    widths: Sequence[int],
    shown: Sequence[int],
    screen: Screen,
    *,
    is_title: bool,
) -> Line:
    parts: list[tuple[str, str | None]] = []
    for position in shown:
        column, width = columns[position], widths[position]
        text = screen.cut(row[position], width)
        colour = "dim" if is_title else None
        if column.is_status and not is_title:
            colour = STATUS_COLOURS.get(text)
        padding = " " * (width - cell_len(text))
        is_last = position == shown[-1]
        if column.is_number:
            parts.append((padding, None))
        parts.append((text, colour))
        if not is_last:
            parts.append((_GAP if column.is_number else padding + _GAP, None))
    while parts and not parts[-1][0].strip():
        parts.pop()
    return Line(parts)
