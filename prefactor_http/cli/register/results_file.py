"""The file of results: a line a row, appended as it is known, read again to go on."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from prefactor_http.cli.errors import WrongUsage
from prefactor_http.cli.register.file_lock import is_locked_for_us

_START = b'{"index":'
_DIGEST = 8
_WIDTH = 1 + _DIGEST
_OK, _REFUSED, _DUPLICATE = 1, 2, 3
_LARGEST_INDEX = 10**8  # a line that says more is none of ours, and would fill the memory
_SECONDS_BETWEEN_LOOKS = 1.0


class Result(Struct, kw_only=True):
    """How a row ended; the last line of an index holds.

    Attributes:
        index: Its position among the rows, from 0.
        idempotency_key: Its key; None for a row that cannot be sent.
        ok: Whether it is registered; None where that is not known.
        id: The instance's id, where it is.
        line: Where it stands in the file, where it is not.
        error: Why not.
        duplicate_of: Position of the earlier row whose name it repeats.
    """

    index: int
    idempotency_key: str | None
    ok: bool | None
    id: str | UnsetType = UNSET
    line: int | UnsetType = UNSET
    error: str | UnsetType = UNSET
    duplicate_of: int | UnsetType = UNSET


class ResultsError(Exception):
    """The file of results cannot be written; the message says why."""


class Results:
    """Results of this run and of those before it, and the file that holds them.

    Args:
        path: The file, which need not exist; None to keep none.
        encode: Writes a result as a line of JSON.
        is_read_only: Whether it is only looked at, and not made.

    Attributes:
        ok: Rows that earlier runs registered.
        refused: Rows that were refused in earlier runs.
    """

    def __init__(
        self, path: str | None, encode: Callable[[object], str], *, is_read_only: bool = False
    ) -> None:
        self.ok: int = 0
        self.refused: int = 0
        self._path = path
        self._encode = encode
        self._is_read_only = is_read_only
        self._file: BinaryIO | None = None
        self._size = 0  # what the file must have at least, unless somebody else changed it
        self._next_look = 0.0
        self._done = bytearray()  # nine bytes a row: how it ended, and a digest of its key
        self._decode = msgspec.json.Decoder(Result).decode

    def __enter__(self) -> Self:
        """Read what earlier runs wrote, and open the file, without a torn last line.

        Raises:
            WrongUsage: The file cannot be read or written, holds something else, or another run
                writes to it.
        """
        if self._path is None:
            return self
        # Before it is opened, which would wait for the other end of a pipe.
        if Path(self._path).exists() and not Path(self._path).is_file():
            raise WrongUsage(f"{self._path}: not a regular file.")
        try:
            with ExitStack() as closing:
                file = None if self._is_read_only else closing.enter_context(_opened(self._path))
                self._size = self._read(self._path)
                if file is not None:
                    file.truncate(self._size)
                closing.pop_all()
        except OSError as exc:
            raise WrongUsage(f"{self._path}: {exc.strerror}.") from None
        self._file = file
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def has(self, index: int, key: str | None) -> bool:
        """Tell whether a row needs nothing more.

        Raises:
            WrongUsage: The row that was registered at this place is another one.
        """
        record = self._done[index * _WIDTH : (index + 1) * _WIDTH]
        if not record or not record[0]:
            return False
        if record[0] == _OK:
            if bytes(record[1:]) == _digest(key):
                return True
            raise WrongUsage(
                f"{self._path} tells of another row {index}: of another job, or before the rows "
                "were changed.",
                "Give the job as it was, or another file for its results.",
            )
        if record[0] == _REFUSED and bytes(record[1:]) == _digest(key):
            return True
        self._forget(index)  # the file was changed: this is a new row
        return False

    def has_duplicate(self, index: int) -> bool:
        """Tell whether a row is known as a duplicate; whatever else is known of it is forgotten."""
        state = self._done[index * _WIDTH : index * _WIDTH + 1]
        if state and state[0] == _DUPLICATE:
            return True
        self._forget(index)
        return False

    def write(self, result: Result) -> None:
        """Append a result.

        Raises:
            ResultsError: It cannot be written whole, as on a full disk, or the file is not the one
                that this run opened.
        """
        if self._file is None:
            return
        line = self._encode(result).encode() + b"\n"
        try:
            written = self._file.write(line)
        except OSError as exc:
            raise ResultsError(f"{self._path}: {exc}") from None
        if written < len(line):
            raise ResultsError(f"{self._path}: {os.strerror(errno.ENOSPC)}")
        self._size += len(line)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _SECONDS_BETWEEN_LOOKS
            self._look(self._file)

    def save(self) -> None:
        """Make sure that all results are on the disk, and in the file of this name.

        Raises:
            ResultsError: They are not, as a network file system may say so late that its disk is
                full.
        """
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise ResultsError(f"{self._path}: {exc}") from None
        self._look(self._file)

    def _look(self, file: BinaryIO) -> None:
        """See whether the file still has its name and its content."""
        ours = os.fstat(file.fileno())
        try:
            named = os.stat(str(self._path))  # noqa: PTH116 # fstat's counterpart
        except OSError:
            named = None
        if named is None or not os.path.samestat(ours, named):
            raise ResultsError(f"{self._path} was deleted or replaced while the command ran")
        if ours.st_size < self._size:
            raise ResultsError(f"{self._path} was truncated while the command ran")

    def _read(self, path: str) -> int:
        end = 0
        try:
            with open(path, "rb") as file:  # noqa: PTH123 # click gives a str
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        if not (line.startswith(_START) or _START.startswith(line)):
                            raise self._is_no_result(number)
                        break  # torn: the run ended while it wrote
                    self._note_line(line, number)
                    end += len(line)
        except FileNotFoundError:  # as it is before the first run, of which this is a dry one
            pass
        return end

    def _note_line(self, line: bytes, number: int) -> None:
        try:
            result = self._decode(line)
        except (msgspec.DecodeError, UnicodeError):
            raise self._is_no_result(number) from None
        if not 0 <= result.index < _LARGEST_INDEX:
            raise self._is_no_result(number)
        self._note(result)

    def _note(self, result: Result) -> None:
        start = result.index * _WIDTH
        missing = start + _WIDTH - len(self._done)
        if missing > 0:
            self._done += bytes(missing)
        self._forget(result.index)
        if result.duplicate_of is not UNSET:
            state = _DUPLICATE
        else:
            state = 0 if result.ok is None else _OK if result.ok else _REFUSED
        self.ok += state == _OK
        self.refused += state == _REFUSED
        digest = _digest(result.idempotency_key)
        self._done[start : start + _WIDTH] = bytes((state,)) + digest

    def _forget(self, index: int) -> None:
        state = self._done[index * _WIDTH : index * _WIDTH + 1]
        if state:
            self.ok -= state[0] == _OK
            self.refused -= state[0] == _REFUSED
            self._done[index * _WIDTH] = 0

    def _is_no_result(self, number: int) -> WrongUsage:
        return WrongUsage(
            f"{self._path}, line {number}: not a result of this command.",
            "Give another file for the results; nothing was sent.",
        )


def _opened(path: str) -> BinaryIO:
    # Unbuffered: a line that was written survives whatever kills this process.
    file = open(path, "ab", buffering=0)  # noqa: PTH123, SIM115 # click gives a str
    # Before it is read: another run could write what this one would not see, and cut off.
    if not is_locked_for_us(file):
        file.close()
        raise WrongUsage(
            f"{path}: another run writes its results there.",
            "Wait for its end, or give another file; nothing was sent.",
        )
    return file


def _digest(key: str | None) -> bytes:
    return blake2b((key or "").encode(), digest_size=_DIGEST).digest()
