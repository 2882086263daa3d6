"""The rows of a file that ``prefactor-http register`` reads: JSON Lines or CSV, also gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click
import msgspec
from msgspec import Struct

from prefactor_http.cli.errors import WrongUsage
from prefactor_http.cli.register.fields import PARTS, RegisterFile
from prefactor_http.cli.register.unknown_keys import suggestion

if TYPE_CHECKING:
    from _csv import Reader as CsvReader  # what csv.reader gives has no public name

UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file raises, a truncated or damaged gzip file included."""

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_EMPTY: list[str] = []  # the header of a file that has none
_BOM = b"\xef\xbb\xbf"
_COLUMNS = RegisterFile.__struct_fields__
_BOOLEAN = "update_current_version"
_TEXT_COLUMNS = frozenset(_COLUMNS) - PARTS.keys() - {_BOOLEAN}
_BOOLEANS = {"true": True, "false": False}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# The API names no limit. More characters than this are a quote that is never closed, not a cell.
_LARGEST_CELL = 16 * 1024 * 1024
_NUMBER = re.compile(r"\d+")
_LINE_BREAK = re.compile("[\n\r]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Row(Struct):
    """A row as the file has it.

    Attributes:
        index: Its position among the rows, from 0; blank lines are none.
        line: Number of its first line, from 1.
        fields: Its fields; None where it cannot be read.
        problem: Why it cannot be sent, where it cannot.
        kind: What problems of the same kind have in common; None where that is their text.
        warnings: What is odd about it.
        has_own_key: Whether the file gives it an idempotency key.
    """

    index: int
    line: int
    fields: dict[str, Any] | None = None
    problem: str | None = None
    kind: str | None = None
    warnings: Sequence[str] = ()
    has_own_key: bool = False


class RowError(Exception):
    """A row that cannot be sent; the message says why.

    Args:
        message: Why.
        kind: What such errors have in common, where their messages differ.
    """

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class LostPosition(Exception):  # noqa: N818 # not an error of a row, but the end of the file
    """Where the next row begins is not known; the message says why."""


Rows = Generator[Row, None, None]
"""The rows of a file.

Iterating raises `LostPosition` where the file cannot be followed any further, or one of
`UNREADABLE`.
"""


def on_disk(file: BinaryIO) -> BinaryIO:
    """Give a file that can be read from the start, and whose size is known.

    Standard input and pipes are copied to their end: reading them row by row would make requests
    wait for whoever writes.

    Raises:
        WrongUsage: The copy cannot be written.
    """
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
    except (OSError, AttributeError):  # a stream that has no descriptor
        pass
    try:
        copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 # closed with the command
        click.get_current_context().call_on_close(copy.close)
        shutil.copyfileobj(file, copy)
        copy.seek(0)
    except OSError as exc:
        raise WrongUsage(
            f"the input cannot be copied to {tempfile.gettempdir()}: {exc.strerror}.",
            "Set TMPDIR to a directory with more room; nothing was sent.",
        ) from None
    return copy


def unpacked(file: BinaryIO) -> BinaryIO:
    """Give what a gzipped file holds, or the file itself."""
    magic = file.read(len(_GZIP))
    file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if magic == _GZIP else file


def read_csv(file: BinaryIO, name: str) -> Rows:
    """Read a row from each record after the header; records without any value are skipped.

    Args:
        file: The file.
        name: What messages call it.

    Raises:
        WrongUsage: The header cannot be read, has a column that is no field, or one twice.
    """
    csv.field_size_limit(_LARGEST_CELL)
    # What is not UTF-8 spoils its row, not the file. The reader is strict: otherwise an unclosed
    # quote would go unnoticed.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = [column.strip() for column in next(reader, _EMPTY)]
    except csv.Error as exc:
        raise WrongUsage(f"{name}, line 1: {_reason_of(exc)}.", "Nothing was sent.") from None
    except UNREADABLE as exc:
        raise WrongUsage(f"{name} cannot be read: {exc}.", "Nothing was sent.") from None
    while header and not header[-1]:
        header.pop()
    _check_header(header, name)
    return _csv_rows(text, reader, header)


def _check_header(header: list[str], name: str) -> None:
    columns = f"Columns are {', '.join(_COLUMNS)}; nothing was sent."
    unknown = [column for column in header if column not in _COLUMNS]
    if not unknown:
        if len(set(header)) < len(header):
            raise WrongUsage(f"{name}, line 1: a column comes twice.", columns)
        return
    first = unknown[0]
    if first.encode(errors="surrogateescape").startswith(_UTF16):
        raise WrongUsage(f"{name} is not UTF-8.", "Save it as CSV UTF-8; nothing was sent.")
    for separator, plural in _SEPARATORS.items():
        if separator in first:
            raise WrongUsage(
                f"{name}, line 1: the columns are separated by {plural} ({separator!r}).",
                f"Separate them by commas. {columns}",
            )
    raise WrongUsage(
        f"{name}, line 1: unknown column {first!r}{suggestion(first, _COLUMNS)}",
        "Nothing was sent.",
    )


def read_json_lines(file: BinaryIO) -> Rows:
    """Read a row from each line that is not blank."""
    index = 0
    for number, line in enumerate(file, 1):
        text = (line.removeprefix(_BOM) if number == 1 else line).strip()
        if not text:
            continue
        row = Row(index, number)
        try:
            row.fields = _object_of(text)
        except RowError as exc:
            row.problem, row.kind = str(exc), exc.kind
        yield row
        index += 1


def _object_of(text: bytes) -> dict[str, Any]:
    value = _decoded(text)
    if not isinstance(value, dict):
        raise RowError("a row is a JSON object")
    return cast("dict[str, Any]", value)


def _decoded(text: bytes | str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        problem = f"not JSON: {exc}"
        # Where in the line it is malformed differs from row to row.
        raise RowError(problem, _NUMBER.sub("", problem)) from None


def _csv_rows(text: io.TextIOWrapper, reader: CsvReader, header: list[str]) -> Rows:
    index = 0
    try:
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as exc:
                raise LostPosition(f"line {line}: {_reason_of(exc)}") from None
            if cells is None:
                return
            if not any(cell and not cell.isspace() for cell in cells):
                continue
            row = Row(index, line)
            try:
                row.fields = _fields_of(header, cells, line)
            except RowError as exc:
                row.problem, row.kind = str(exc), exc.kind
            yield row
            index += 1
    finally:
        text.detach()  # or it would close the file, whose position is still asked for


def _reason_of(error: csv.Error) -> str:
    return f"not CSV: a quote is never closed, or not doubled within a cell ({error})"


def _fields_of(header: list[str], cells: list[str], line: int) -> dict[str, Any]:
    while len(cells) > len(header) and not cells[-1].strip():
        cells.pop()  # columns without a name, as spreadsheets leave them
    for column, cell in zip(header, cells, strict=False):
        # No such text has a line break: these are the rows that an unclosed quote has swallowed.
        if not cell.isprintable() and column not in PARTS and _LINE_BREAK.search(cell.strip()):
            raise LostPosition(f"line {line}: {column} has a line break, as after a missing quote")
    if len(cells) != len(header):
        raise RowError(f"has {len(cells)} cells, the header {len(header)}")
    return {
        column: cell if cell.isprintable() and column in _TEXT_COLUMNS else _typed(column, cell)
        for column, cell in zip(header, cells, strict=True)
        if cell and not cell.isspace()
    }


def _typed(column: str, cell: str) -> object:
    if _NOT_UTF8.search(cell):
        raise RowError(f"{column}: not UTF-8")
    if column in _TEXT_COLUMNS:
        return cell
    if column == _BOOLEAN:
        value = _BOOLEANS.get(cell.strip().casefold())
        if value is None:
            raise RowError(f"{column}: must be true or false")
        return value
    try:
        return _decoded(cell)
    except RowError as exc:
        raise RowError(f"{column}: {exc}", f"{column}: {exc.kind}") from None
