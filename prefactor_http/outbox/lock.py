"""The lock that makes one process the forwarder of an outbox.

POSIX locks belong to a process and a file: closing any descriptor of the file releases them. So
the lock has a file of its own beside the database, which is open once in a process, as long as any
outbox uses it. A second outbox of the same process on the same file is excluded by a registry. A
forked child inherits neither the lock nor the registry.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from prefactor_http.outbox.errors import OutboxFileError

_HELD = frozenset({errno.EACCES, errno.EAGAIN})


class _Registry:
    """The locks of this process: who holds them, and their descriptors with the number of users."""

    def __init__(self) -> None:
        self.owners: dict[Path, ForwarderLock] = {}
        self._descriptors: dict[Path, tuple[int, int]] = {}

    def open(self, path: Path) -> int:
        if path not in self._descriptors:
            self._descriptors[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), 0
        descriptor, users = self._descriptors[path]
        self._descriptors[path] = descriptor, users + 1
        return descriptor

    def close(self, path: Path) -> None:
        descriptor, users = self._descriptors.pop(path)
        if users == 1:
            os.close(descriptor)
        else:
            self._descriptors[path] = descriptor, users - 1


_registry = _Registry()


class ForwarderLock:
    """The lock of one outbox. The process that holds it delivers.

    Args:
        path: The file of the outbox.

    Raises:
        OutboxFileError: This platform has no POSIX locks, or the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            import fcntl  # noqa: PLC0415 # Windows has none
        except ImportError as exc:
            raise OutboxFileError("the outbox needs POSIX file locks: use Linux or macOS") from exc
        self._fcntl = fcntl
        self._path = path.with_name(f"{path.name}.lock")
        try:
            self._descriptor = _registry.open(self._path)
        except OSError as exc:
            raise OutboxFileError(f"cannot open {self._path}: {exc}") from exc

    def acquire(self) -> bool:
        """Take the lock, unless another outbox of this process or another process has it.

        Raises:
            OutboxFileError: The file cannot be locked.
        """
        owners = _registry.owners
        if owners.setdefault(self._path, self) is not self:
            return False
        fcntl = self._fcntl
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            del owners[self._path]
            if exc.errno in _HELD:
                return False
            raise OutboxFileError(f"cannot lock {self._path}: {exc}") from exc
        return True

    def release(self) -> None:
        """Release the lock if this outbox has it, and close the file. Call it once."""
        if _registry.owners.get(self._path) is self:
            self._fcntl.lockf(self._descriptor, self._fcntl.LOCK_UN)
            del _registry.owners[self._path]
        _registry.close(self._path)


_register_at_fork: Callable[..., object] = getattr(os, "register_at_fork", dict)  # not on Windows
_register_at_fork(after_in_child=_registry.owners.clear)
