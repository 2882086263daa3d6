"""The rows of a file that ``prefactor-http register`` reads: JSON Lines or CSV, also gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click
import msgspec
from msgspec import Struct

from prefactor_http.cli._output import WrongUsage
from prefactor_http.cli._register_file import RegisterFile

if TYPE_CHECKING:
    from _csv import Reader as CsvReader  # what csv.reader gives has no public name

_GZIP = b"\x1f\x8b"
_EMPTY: list[str] = []  # the header of a file that has none
_BOM = b"\xef\xbb\xbf"
_COLUMNS = RegisterFile.__struct_fields__
# Columns that are no text: their cells hold JSON.
_JSON_COLUMNS = frozenset({"agent_version", "agent_schema_version", "update_current_version"})


class Row(Struct):
    """A row as the file has it.

    Attributes:
        index: Its position among the rows, from 0; blank lines are none.
        line: Number of its first line, from 1.
        fields: Its fields; None where it cannot be read.
        problem: Why it cannot be sent, where it cannot.
    """

    index: int
    line: int
    fields: dict[str, Any] | None = None
    problem: str | None = None


class RowError(Exception):
    """A row that cannot be sent; the message says why."""


def on_disk(file: BinaryIO) -> BinaryIO:
    """Give a file that can be read from the start, and whose size is known.

    Standard input and pipes are copied to their end: reading them row by row would make replies
    wait for whoever writes.
    """
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
    except (OSError, AttributeError):  # a stream that has no descriptor
        pass
    copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 # closed with the command
    click.get_current_context().call_on_close(copy.close)
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


def unpacked(file: BinaryIO) -> BinaryIO:
    """Give what a gzipped file holds, or the file itself."""
    magic = file.read(len(_GZIP))
    file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if magic == _GZIP else file


def read_json_lines(file: BinaryIO) -> Generator[Row, None, None]:
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
            row.problem = str(exc)
        yield row
        index += 1


def read_csv(file: BinaryIO, name: str) -> Generator[Row, None, None]:
    """Read a row from each record after the header.

    Args:
        file: The file.
        name: What messages call it.

    Raises:
        WrongUsage: The header has a column that is no field, or one twice.
    """
    # What is not UTF-8 spoils its row, not the file.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text)
    header = [column.strip() for column in next(reader, _EMPTY)]
    unknown = [column for column in header if column not in _COLUMNS]
    if unknown or len(set(header)) < len(header):
        what = f"unknown column {unknown[0]!r}" if unknown else "a column comes twice"
        raise WrongUsage(
            f"{name}, line 1: {what}.", f"Columns are {', '.join(_COLUMNS)}; nothing was sent."
        )
    try:
        yield from _rows_of(reader, header)
    finally:
        text.detach()  # or it would close the file, whose position is still asked for


def _object_of(text: bytes) -> dict[str, Any]:
    value = _decoded(text)
    if not isinstance(value, dict):
        raise RowError("a row is a JSON object")
    return cast("dict[str, Any]", value)


def _decoded(text: bytes | str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise RowError(f"not JSON: {exc}") from None


def _rows_of(reader: CsvReader, header: list[str]) -> Generator[Row, None, None]:
    index = 0
    while True:
        row = Row(index, reader.line_num + 1)
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if not cells:
                continue
            row.fields = _fields_of(header, cells)
        except csv.Error as exc:
            row.problem = f"not CSV: {exc}"
        except RowError as exc:
            row.problem = str(exc)
        yield row
        index += 1


def _fields_of(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise RowError(f"has {len(cells)} cells, the header {len(header)}")
    filled = {column: cell for column, cell in zip(header, cells, strict=True) if cell}
    return dict(_typed(filled.items().__iter__()))


def _typed(cells: Iterator[tuple[str, str]]) -> Generator[tuple[str, object], None, None]:
    for column, cell in cells:
        if not cell.isprintable() and any("\udc80" <= sign <= "\udcff" for sign in cell):
            raise RowError(f"{column}: not UTF-8")
        try:
            yield column, _decoded(cell) if column in _JSON_COLUMNS else cell
        except RowError as exc:
            raise RowError(f"{column}: {exc}") from None
