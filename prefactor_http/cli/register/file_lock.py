"""Keeps two runs from writing to the same file."""

from __future__ import annotations

from typing import IO


def lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed or this process ends, even by a kill.

    Returns:
        False if another process has locked it. True if files cannot be locked, as on Windows and on
        some network file systems: there is no protection there.
    """
    try:
        import fcntl  # noqa: PLC0415 # Windows has none

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True
