"""Standard output and standard error that never raise.

The reader may be gone, the disk full, the encoding unable to represent a character. None of this
may stop a job halfway or hide its result. The first failure is kept and reported when the work is
done.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from typing import TextIO

_ENCODING = "utf-8"
_DUMB = {"dumb", "unknown"}  # values of TERM
# Windows reports a closed pipe as an invalid argument.
_CLOSED = {errno.EPIPE, errno.EBADF, errno.EINVAL if os.name == "nt" else errno.ESHUTDOWN}


class Stream:
    """A text stream that keeps its first write error and discards all text after it.

    Args:
        name: Its name in messages.
        file: The file; None if the process was started without it.

    Attributes:
        failure: The write error; None while there is none.
        is_closed: Whether writing failed because the reader has closed the stream.
        has_dropped: Whether text was discarded.
    """

    def __init__(self, name: str, file: TextIO | None) -> None:
        self.name = name
        self.failure: str | None = None
        self.is_closed: bool = False
        self.has_dropped: bool = False
        self._file = file
        self._is_terminal = file is not None and file.isatty()
        if file is None:
            self._fail(OSError(errno.EBADF, "closed"))

    @property
    def encoding(self) -> str:
        return getattr(self._file, "encoding", None) or _ENCODING

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def is_plain(self) -> bool:
        """Whether it takes text only: it is no terminal, or one that cannot move the cursor."""
        return not self._is_terminal or os.environ.get("TERM", "").lower() in _DUMB

    @property
    def has_colour(self) -> bool:
        return not self.is_plain and not os.environ.get("NO_COLOR")

    @property
    def width(self) -> int | None:
        """The number of columns of the terminal; None for a pipe or a file."""
        return shutil.get_terminal_size().columns if self._is_terminal else None

    def fileno(self) -> int:
        if self._file is None:
            raise OSError(errno.EBADF, "closed")
        return self._file.fileno()

    def can_encode(self, text: str) -> bool:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def write(self, text: str) -> int:
        """Write text; a character that the encoding lacks is written as an escape."""
        if self._file is not None and self.failure is None:
            encoding = self.encoding
            plain = text.encode(encoding, "backslashreplace").decode(encoding)
            try:
                self._file.write(plain)
            except (OSError, ValueError) as exc:
                self._fail(exc)
        self.has_dropped |= self.failure is not None
        return len(text)

    def flush(self) -> None:
        if self._file is not None and self.failure is None:
            try:
                self._file.flush()
            except (OSError, ValueError) as exc:
                self._fail(exc)
                self.has_dropped = True

    def _fail(self, error: OSError | ValueError) -> None:
        if not isinstance(error, OSError):  # Python's file object is closed
            error = OSError(errno.EBADF, "closed")
        self.failure = error.strerror or str(error)
        # Writing to a terminal that was hung up fails with an I/O error.
        self.is_closed = error.errno in _CLOSED or (self._is_terminal and error.errno == errno.EIO)
        # The interpreter flushes the rest of the buffer at exit, which must not fail again.
        with suppress(OSError, ValueError):
            descriptor = self.fileno()
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, descriptor)
            os.close(devnull)
