"""The counters of the open outboxes of this process, for metrics.

They are read through connections of their own, because metrics are collected in another thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from prefactor_http.outbox.database import read_stats
from prefactor_http.outbox.rows import OutboxStats

_open: Counter[Path] = Counter()


def add(path: Path) -> None:
    """Note that an outbox was opened."""
    _open[path] += 1


def remove(path: Path) -> None:
    """Note that it was closed."""
    _open[path] -= 1


def read_all() -> Iterator[tuple[Path, OutboxStats]]:
    """Read the counters of each file that is open and can be read."""
    for path, count in _open.copy().items():
        if count:
            with (
                suppress(sqlite3.Error),
                closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
            ):
                yield path, read_stats(connection, time.time())


_register_at_fork: Callable[..., object] = getattr(os, "register_at_fork", dict)  # not on Windows
_register_at_fork(after_in_child=_open.clear)
