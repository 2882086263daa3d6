"""Schema of the SQLite file, and its migrations."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from prefactor_http.outbox.errors import OutboxFileError

APPLICATION_ID = 0x50464F42
# One script for each schema version. A released script never changes: add another one.
MIGRATIONS = (
    """
    CREATE TABLE pending (
        sequence INTEGER PRIMARY KEY,
        instance TEXT NOT NULL,
        type TEXT NOT NULL,
        key TEXT NOT NULL,
        target TEXT NOT NULL,
        parent TEXT,
        body BLOB NOT NULL,
        recorded_at REAL NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        unknown_since REAL,
        last_error TEXT
    );
    CREATE TABLE dead (
        sequence INTEGER PRIMARY KEY,
        instance TEXT NOT NULL,
        type TEXT NOT NULL,
        key TEXT NOT NULL,
        target TEXT NOT NULL,
        parent TEXT,
        body BLOB NOT NULL,
        recorded_at REAL NOT NULL,
        state TEXT NOT NULL,
        died_at REAL NOT NULL,
        blocked_by INTEGER,
        error BLOB NOT NULL
    );
    CREATE INDEX dead_target ON dead (target);
    CREATE TABLE dropped (id TEXT PRIMARY KEY, dropped_at REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE spans (id TEXT PRIMARY KEY, instance TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE totals (
        last_sequence INTEGER NOT NULL,
        loaded_sequence INTEGER NOT NULL,
        items INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        delivered INTEGER NOT NULL,
        dropped INTEGER NOT NULL
    );
    INSERT INTO totals VALUES (0, 0, 0, 0, 0, 0);
    CREATE TABLE account (host TEXT, partition INTEGER);
    INSERT INTO account VALUES (NULL, NULL);
    """,
)
VERSION = len(MIGRATIONS)


def read_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file; 0 for a new one.

    Raises:
        OutboxFileError: The file is another program's, or of a newer release.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise OutboxFileError(f"{path} is a SQLite file, but not an outbox")
    if version > VERSION:
        raise OutboxFileError(
            f"{path} has schema version {version}, this release knows versions up to "
            f"{VERSION}: upgrade prefactor-http, or use another file"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to the current version, in one transaction. If it fails, close the connection.

    Raises:
        OutboxFileError: The file is another program's, or of a newer release.
    """
    connection.execute("BEGIN IMMEDIATE")
    version = read_version(connection, path)
    for script in MIGRATIONS[version:]:
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
    if version < VERSION:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
