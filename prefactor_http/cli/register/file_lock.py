"""Keeps two runs from one file."""

from __future__ import annotations

from typing import IO


def is_locked_for_us(file: IO[bytes]) -> bool:
    """Lock a file until it is closed, or this process ends however it may.

    Returns:
        False where another process has locked it. True where files cannot be locked, as on Windows
        and on some network file systems: there nothing keeps them apart.
    """
    try:
        import fcntl  # noqa: PLC0415 # Windows has none

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True
