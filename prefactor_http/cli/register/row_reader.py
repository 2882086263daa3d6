"""Reads the rows of a file for ``prefactor-http register``: JSON Lines or CSV, also gzipped."""

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

from prefactor_http.cli.errors import InputError
from prefactor_http.cli.register.fields import PARTS, RegistrationFields
from prefactor_http.cli.register.unknown_keys import suggestion

if TYPE_CHECKING:
    from _csv import Reader as CsvReader  # the type has no public name

UNREADABLE = (OSError, EOFError, zlib.error)
"""Errors of reading a file, including a truncated or damaged gzip file."""

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NO_HEADER: list[str] = []
_BOM = b"\xef\xbb\xbf"
_COLUMNS = RegistrationFields.__struct_fields__
_BOOLEAN = "update_current_version"
_TEXT_COLUMNS = frozenset(_COLUMNS) - PARTS.keys() - {_BOOLEAN}
_BOOLEANS = {"true": True, "false": False}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# The API has no limit. A longer cell is one whose quote is never closed.
_MAX_CELL_SIZE = 16 * 1024 * 1024
_NUMBER = re.compile(r"\d+")
_LINE_BREAK = re.compile("[\n\r]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Row(Struct):
    """A row of the file.

    Attributes:
        index: Its position among the rows, from 0; blank lines do not count.
        line: Number of its first line, from 1.
        fields: Its fields; None if it cannot be read.
        error: Why it cannot be sent; None if it can.
        error_group: Equal for errors that differ in details only; None if the text is that.
        warnings: Warnings about it.
        has_own_key: Whether it has an idempotency key in the file.
    """

    index: int
    line: int
    fields: dict[str, Any] | None = None
    error: str | None = None
    error_group: str | None = None
    warnings: Sequence[str] = ()
    has_own_key: bool = False


class RowError(Exception):
    """A row that cannot be sent.

    Args:
        message: The reason.
        group: Equal for errors that differ in details only; None if the message is that.
    """

    def __init__(self, message: str, group: str | None = None) -> None:
        super().__init__(message)
        self.group = group


class RowBoundaryError(Exception):
    """The start of the next row is not known, so reading stops."""


Rows = Generator[Row, None, None]
"""The rows of a file.

Iterating can raise `RowBoundaryError` or one of `UNREADABLE`.
"""


def on_disk(file: BinaryIO) -> BinaryIO:
    """Return a seekable file.

    Standard input and pipes are copied to a temporary file first. Otherwise requests would wait for
    the process that writes to the pipe.

    Raises:
        InputError: The copy cannot be written.
    """
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
    except (OSError, AttributeError):  # a stream without a descriptor
        pass
    try:
        copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 # closed with the command
        click.get_current_context().call_on_close(copy.close)
        shutil.copyfileobj(file, copy)
        copy.seek(0)
    except OSError as exc:
        raise InputError(
            f"the input cannot be copied to {tempfile.gettempdir()}: {exc.strerror}.",
            "Set TMPDIR to a directory with more space; nothing was sent.",
        ) from None
    return copy


def decompressed(file: BinaryIO) -> BinaryIO:
    """Return the file, decompressed if it is gzipped."""
    magic = file.read(len(_GZIP))
    file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if magic == _GZIP else file


def read_csv(file: BinaryIO, name: str) -> Rows:
    """Read a row from each record after the header; records without any value are skipped.

    Args:
        file: The file.
        name: Its name in messages.

    Raises:
        InputError: The header cannot be read, or has an unknown or repeated column.
    """
    csv.field_size_limit(_MAX_CELL_SIZE)
    # With surrogateescape, invalid UTF-8 is an error of its row, not of the file. Without strict,
    # csv would accept a quote that is never closed.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = [column.strip() for column in next(reader, _NO_HEADER)]
    except csv.Error as exc:
        raise InputError(f"{name}, line 1: {_csv_error(exc)}.", "Nothing was sent.") from None
    except UNREADABLE as exc:
        raise InputError(f"{name} cannot be read: {exc}.", "Nothing was sent.") from None
    while header and not header[-1]:
        header.pop()
    _check_header(header, name)
    return _csv_rows(text, reader, header)


def _check_header(header: list[str], name: str) -> None:
    columns = f"Allowed columns are {', '.join(_COLUMNS)}; nothing was sent."
    unknown = [column for column in header if column not in _COLUMNS]
    if not unknown:
        if len(set(header)) < len(header):
            raise InputError(f"{name}, line 1: a column appears twice.", columns)
        return
    first = unknown[0]
    if first.encode(errors="surrogateescape").startswith(_UTF16):
        raise InputError(f"{name} is not UTF-8.", "Save it as CSV UTF-8; nothing was sent.")
    for separator, plural in _SEPARATORS.items():
        if separator in first:
            raise InputError(
                f"{name}, line 1: the columns are separated by {plural} ({separator!r}).",
                f"Separate them with commas. {columns}",
            )
    raise InputError(
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
            row.fields = _decode_row(text)
        except RowError as exc:
            row.error, row.error_group = str(exc), exc.group
        yield row
        index += 1


def _decode_row(text: bytes) -> dict[str, Any]:
    value = _decode(text)
    if not isinstance(value, dict):
        raise RowError("a row must be a JSON object")
    return cast("dict[str, Any]", value)


def _decode(text: bytes | str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        message = f"not JSON: {exc}"
        # The position of the error in the line differs between rows.
        raise RowError(message, _NUMBER.sub("", message)) from None


def _csv_rows(text: io.TextIOWrapper, reader: CsvReader, header: list[str]) -> Rows:
    index = 0
    try:
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as exc:
                raise RowBoundaryError(f"line {line}: {_csv_error(exc)}") from None
            if cells is None:
                return
            if not any(cell and not cell.isspace() for cell in cells):
                continue
            row = Row(index, line)
            try:
                row.fields = _fields_of(header, cells, line)
            except RowError as exc:
                row.error, row.error_group = str(exc), exc.group
            yield row
            index += 1
    finally:
        text.detach()  # otherwise it would close the file, whose position is still needed


def _csv_error(error: csv.Error) -> str:
    return f"not CSV: a quote is never closed, or not doubled within a cell ({error})"


def _fields_of(header: list[str], cells: list[str], line: int) -> dict[str, Any]:
    while len(cells) > len(header) and not cells[-1].strip():
        cells.pop()  # spreadsheets write such columns without a name
    for column, cell in zip(header, cells, strict=False):
        # Such texts have no line breaks: this one contains the rows after an unclosed quote.
        if not cell.isprintable() and column not in PARTS and _LINE_BREAK.search(cell.strip()):
            raise RowBoundaryError(
                f"line {line}: {column} has a line break; a quote before it may be missing"
            )
    if len(cells) != len(header):
        raise RowError(f"has {len(cells)} cells, but the header has {len(header)}")
    return {
        column: cell
        if cell.isprintable() and column in _TEXT_COLUMNS
        else _parse_cell(column, cell)
        for column, cell in zip(header, cells, strict=True)
        if cell and not cell.isspace()
    }


def _parse_cell(column: str, cell: str) -> object:
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
        return _decode(cell)
    except RowError as exc:
        raise RowError(f"{column}: {exc}", f"{column}: {exc.group}") from None
