"""The results file: one line per row, appended as outcomes arrive, read again to resume."""

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

from prefactor_http.cli.errors import InputError
from prefactor_http.cli.register.file_lock import lock

_START = b'{"index":'
_DIGEST_SIZE = 8
_RECORD_SIZE = 1 + _DIGEST_SIZE
_OK, _REFUSED, _DUPLICATE = 1, 2, 3
_MAX_INDEX = 10**8  # a larger one is not ours, and would fill the memory
_CHECK_INTERVAL = 1.0


class Result(Struct, kw_only=True):
    """The outcome of a row. The last line with an index counts.

    Attributes:
        index: Position of the row, from 0.
        idempotency_key: Its key; None for a row that cannot be sent.
        ok: Whether it is registered; None if that is unknown.
        id: The instance's id, if it is registered.
        line: Its line number in the file, if it is not.
        error: Why it is not.
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
    """The results file cannot be written; the message says why."""


class ResultsFile:
    """The results of this run and of earlier ones.

    In memory a row takes nine bytes: its state and a digest of its key.

    Args:
        path: The file, which need not exist; None for no file.
        encode: Encodes a result as a line of JSON.
        is_read_only: Whether to read the file only, and not to create it.

    Attributes:
        ok: Number of rows that earlier runs registered.
        refused: Number of rows that were refused in earlier runs.
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
        self._size = 0  # a smaller file was changed by another process
        self._next_check = 0.0
        self._records = bytearray()
        self._decode = msgspec.json.Decoder(Result).decode

    def __enter__(self) -> Self:
        """Read the results of earlier runs, and open the file; an incomplete last line is removed.

        Raises:
            InputError: The file cannot be read or written, is not a results file, or is in use by
                another run.
        """
        if self._path is None:
            return self
        # Checked first: to open a named pipe would block.
        if Path(self._path).exists() and not Path(self._path).is_file():
            raise InputError(
                f"{self._path} is not a regular file.",
                "Choose another file for --out; nothing was sent.",
            )
        try:
            with ExitStack() as closing:
                file = None if self._is_read_only else closing.enter_context(_open(self._path))
                self._size = self._read(self._path)
                if file is not None:
                    file.truncate(self._size)
                closing.pop_all()
        except OSError as exc:
            raise InputError(
                f"cannot open {self._path}: {exc.strerror}.",
                "Choose another file for --out; nothing was sent.",
            ) from None
        self._file = file
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def is_finished(self, index: int, key: str | None) -> bool:
        """Return whether an earlier run has registered the row, or it was refused.

        Raises:
            InputError: The row that was registered at this position has another key.
        """
        record = self._records[index * _RECORD_SIZE : (index + 1) * _RECORD_SIZE]
        if not record or not record[0]:
            return False
        if record[0] == _OK:
            if bytes(record[1:]) == _digest(key):
                return True
            raise InputError(
                f"{self._path}: the result with index {index} belongs to a different row: the rows "
                "or the name of the job have changed.",
                "Give the same file and --job as before, or another file for --out.",
            )
        if record[0] == _REFUSED and bytes(record[1:]) == _digest(key):
            return True
        self._forget(index)  # the row has changed
        return False

    def is_known_duplicate(self, index: int) -> bool:
        """Return whether the file has the row as a duplicate; forget any other result of it."""
        state = self._records[index * _RECORD_SIZE : index * _RECORD_SIZE + 1]
        if state and state[0] == _DUPLICATE:
            return True
        self._forget(index)
        return False

    def write(self, result: Result) -> None:
        """Append a result.

        Raises:
            ResultsError: The disk is full, or the file was deleted, replaced or truncated.
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
        if now >= self._next_check:
            self._next_check = now + _CHECK_INTERVAL
            self._check_file(self._file)

    def save(self) -> None:
        """Flush the results to the disk.

        Raises:
            ResultsError: They cannot be written: a network file system may report a full disk only
                now. Or the file was deleted, replaced or truncated.
        """
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise ResultsError(f"{self._path}: {exc}") from None
        self._check_file(self._file)

    def _check_file(self, file: BinaryIO) -> None:
        """Check that the path still refers to the open file, and that nobody truncated it."""
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
                            raise self._not_a_result(number)
                        break  # incomplete: the run was killed while it wrote
                    self._note_line(line, number)
                    end += len(line)
        except FileNotFoundError:  # a dry run before the first run
            pass
        return end

    def _note_line(self, line: bytes, number: int) -> None:
        try:
            result = self._decode(line)
        except (msgspec.DecodeError, UnicodeError):
            raise self._not_a_result(number) from None
        if not 0 <= result.index < _MAX_INDEX:
            raise self._not_a_result(number)
        self._note(result)

    def _note(self, result: Result) -> None:
        start = result.index * _RECORD_SIZE
        missing = start + _RECORD_SIZE - len(self._records)
        if missing > 0:
            self._records += bytes(missing)
        self._forget(result.index)
        if result.duplicate_of is not UNSET:
            state = _DUPLICATE
        else:
            state = 0 if result.ok is None else _OK if result.ok else _REFUSED
        self.ok += state == _OK
        self.refused += state == _REFUSED
        digest = _digest(result.idempotency_key)
        self._records[start : start + _RECORD_SIZE] = bytes((state,)) + digest

    def _forget(self, index: int) -> None:
        state = self._records[index * _RECORD_SIZE : index * _RECORD_SIZE + 1]
        if state:
            self.ok -= state[0] == _OK
            self.refused -= state[0] == _REFUSED
            self._records[index * _RECORD_SIZE] = 0

    def _not_a_result(self, number: int) -> InputError:
        return InputError(
            f"{self._path}, line {number}: not a result of this command.",
            "Choose another file for --out; nothing was sent.",
        )


def _open(path: str) -> BinaryIO:
    # Unbuffered, so that a line that was written survives a kill of this process.
    file = open(path, "ab", buffering=0)  # noqa: PTH123, SIM115 # click gives a str
    # Locked before it is read: otherwise this run could truncate lines of another one.
    if not lock(file):
        file.close()
        raise InputError(
            f"{path} is in use by another run.",
            "Wait until it ends, or choose another file for --out; nothing was sent.",
        )
    return file


def _digest(key: str | None) -> bytes:
    return blake2b((key or "").encode(), digest_size=_DIGEST_SIZE).digest()
