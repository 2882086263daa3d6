"""Ledger: which writes were applied, how often, and by which requests.

It is a SQLite file, so that the test process can read it directly.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

_TABLES = """
CREATE TABLE effects (
    operation TEXT, mark TEXT, key TEXT, resource TEXT, digest TEXT, times INTEGER,
    PRIMARY KEY (operation, mark, key, resource)
) WITHOUT ROWID;
CREATE TABLE requests (
    number INTEGER, connection INTEGER, at REAL, operation TEXT, key TEXT, resource TEXT,
    fault TEXT, result TEXT
);
CREATE INDEX requests_by_key ON requests (key);
CREATE INDEX requests_by_resource ON requests (resource);
"""


class Ledger:
    """Writes the ledger.

    Args:
        path: The file; it must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + _TABLES)
        self._db.execute("BEGIN")

    def record_effect(
        self, operation: str, mark: str, key: str, resource: str, digest: str
    ) -> None:
        """Count one more application of a write."""
        self._db.execute(
            "INSERT INTO effects VALUES (?, ?, ?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET times = times + 1",
            (operation, mark, key, resource, digest),
        )

    def record_request(self, *values: object) -> None:
        """Record a request. The values are the columns of the table in order."""
        self._db.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def times_applied(self, operation: str, mark: str) -> int:
        """Return how often the write with this mark was applied, with any key."""
        row = self._db.execute(
            "SELECT coalesce(sum(times), 0) FROM effects WHERE operation = ? AND mark = ?",
            (operation, mark),
        ).fetchone()
        return int(row[0])

    def take_effects(self) -> list[tuple[str, str, str, str, int]]:
        """Return all effects so far and delete them."""
        return self._db.execute(
            "DELETE FROM effects RETURNING operation, mark, key, resource, times"
        ).fetchall()

    def forget_requests(self) -> None:
        """Delete all recorded requests."""
        self._db.execute("DELETE FROM requests")

    def commit(self) -> None:
        """Make everything so far visible to readers of the file."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")
