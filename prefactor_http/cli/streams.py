"""Standard output and standard error that never raise.

Whoever reads may be gone, the disk full, the encoding too small: none of it must end a job half
way, or hide how it ended. A failure is kept, and reported once the work is done.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TextIO

_ENCODING = "utf-8"
# Windows says that an argument is invalid.
_CLOSED = {errno.EPIPE, errno.EBADF, errno.EINVAL if os.name == "nt" else errno.ESHUTDOWN}


class Stream:
    """A text stream that keeps the first failure to write, and then discards what is written.

    Args:
        name: What messages call it.
        file: Where the text goes; None where the process was started without it.

    Attributes:
        failure: Why nothing can be written any more; None while it can.
        is_closed: Whether that is because nobody reads.
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
        """The encoding of the file."""
        return getattr(self._file, "encoding", None) or _ENCODING

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """Give the file's descriptor.

        Raises:
            OSError: It has none.
        """
        if self._file is None:
            raise OSError(errno.EBADF, "closed")
        return self._file.fileno()

    def can_encode(self, text: str) -> bool:
        """Tell whether the encoding has all characters of a text."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def write(self, text: str) -> int:
        """Write text; characters that the encoding lacks are written as escapes."""
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
        """Write what is buffered."""
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
        # A terminal that was hung up answers with an I/O error.
        self.is_closed = error.errno in _CLOSED or (self._is_terminal and error.errno == errno.EIO)
        # The rest of the buffer must not fail once more when the interpreter flushes it at exit.
        with suppress(OSError, ValueError):
            descriptor = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
