"""Transactions on the SQLite file. Each method is one transaction, called in one thread at a time.

Totals are kept in a row of their own, because counting the pending rows would take time in
proportion to the backlog. Rows are inserted and deleted many at a time: sqlite3 releases the
interpreter lock in each statement, and getting it back can cost more than a row.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from prefactor_http.outbox.errors import (
    OutboxBlockedError,
    OutboxFileError,
    OutboxFullError,
    OutboxStorageError,
)
from prefactor_http.outbox.options import OutboxOptions
from prefactor_http.outbox.rows import (
    DeadLetter,
    DeadState,
    NewWrite,
    OutboxStats,
    PendingWrite,
    error_of,
    record_of,
)
from prefactor_http.outbox.schema import migrate, read_version

REGISTER, CREATE_SPAN, FINISH_SPAN = (
    "agent_instances/register",
    "agent_spans/create",
    "agent_spans/finish",
)
CREATES = frozenset({REGISTER, CREATE_SPAN})

_BUSY_SECONDS = 30.0
_ROWS_PER_STATEMENT = 32
_IDS_PER_STATEMENT = 128
_COLUMNS = "sequence, instance, type, key, target, parent, body, recorded_at"
_PENDING = f"{_COLUMNS}, tries, unknown_since"
_DEAD = "sequence, instance, type, key, target, state, recorded_at, died_at, blocked_by, error"
_TOTALS = "last_sequence, loaded_sequence, items, bytes, delivered, dropped"
# A transaction that finds a longer log copies it into the database, which takes milliseconds.
_MAX_LOG_PAGES = 4000
_LONG_LOG_COMMITS = 250  # about 1000 pages
# The write-ahead log cannot grow.
_NEEDS_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_PRIMARY_CODE = 0xFF
# How long later writes of a dropped instance are recognized.
_KEEP_DROPPED_SECONDS = 30 * 24 * 3600.0


class Totals(Struct):
    """The row of totals; see `OutboxStats`.

    Attributes:
        last_sequence: The last sequence that was assigned.
        loaded_sequence: The forwarder has read the rows up to this one.
    """

    last_sequence: int
    loaded_sequence: int
    items: int
    bytes: int
    delivered: int
    dropped: int


class Commit(Struct):
    """What a transaction has recorded.

    Attributes:
        sequences: The sequence of each write, or why it was not recorded. There are fewer than
            writes if the outbox is full and the others have to wait.
        items: Pending writes afterwards.
        dropped: Writes that were dropped to make room.
    """

    sequences: list[int | OutboxFullError]
    items: int
    dropped: list[int]


class Page(Struct):
    """Rows to deliver.

    Attributes:
        rows: The rows, in order.
        last: Sequence of the last row that was read; rows that are not sent are included.
        is_last: Whether there were no more rows.
        blocked: New dead letters, because what the rows refer to is a dead letter.
        dropped: Rows that were dropped, because what they refer to was dropped.
    """

    rows: list[PendingWrite]
    last: int
    is_last: bool
    blocked: list[DeadLetter]
    dropped: list[int]


class Database:
    """The file of an outbox.

    Args:
        path: The file; created with mode 0600 if it does not exist.
        options: Durability and limits.

    Raises:
        OutboxFileError: The file cannot be used.
    """

    def __init__(self, path: Path, options: OutboxOptions) -> None:
        self._path = path
        self._options = options
        self._insert_full = _insert_statement(_ROWS_PER_STATEMENT)
        self._commits_in_log = 0
        try:
            # SQLite gives its other files the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as exc:
            raise OutboxFileError(f"cannot open the outbox {path}: {exc}") from exc
        try:
            self._configure()
        except sqlite3.Error as exc:
            self._connection.close()
            raise OutboxFileError(f"cannot use the outbox {path}: {exc}") from exc
        except BaseException:
            self._connection.close()
            raise

    def _configure(self) -> None:
        connection = self._connection
        read_version(connection, self._path)  # before a file of another program is changed
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise OutboxFileError(
                f"{self._path} cannot have a write-ahead log: put the outbox on a local file system"
            )
        level = "NORMAL" if self._options.durability == "process" else "FULL"
        connection.execute(f"PRAGMA synchronous = {level}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_MAX_LOG_PAGES}")
        migrate(connection, self._path)
        if self._options.when_full == "drop_oldest":
            # Only dropping looks up rows by instance; otherwise the index would only cost time.
            connection.execute("CREATE INDEX IF NOT EXISTS pending_instance ON pending (instance)")

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):  # the next start reads the log
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Generator[Totals, None, None]:
        """Begin, yield the totals, store them and commit."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(f"SELECT {_TOTALS} FROM totals").fetchone()
            totals = Totals(*row)
            yield totals
            after = (
                totals.last_sequence,
                totals.loaded_sequence,
                totals.items,
                totals.bytes,
                totals.delivered,
                totals.dropped,
            )
            if after != row:
                connection.execute(
                    "UPDATE totals SET last_sequence = ?, loaded_sequence = ?, items = ?, "
                    "bytes = ?, delivered = ?, dropped = ?",
                    after,
                )
            connection.execute("COMMIT")
            self._commits_in_log += 1
        except sqlite3.Error as exc:
            raise OutboxStorageError(f"cannot write to the outbox {self._path}: {exc}") from exc
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):  # a failed commit may have rolled back already
                    connection.execute("ROLLBACK")

    @property
    def has_long_log(self) -> bool:
        """Whether to copy the log into the database when there is time."""
        return self._commits_in_log >= _LONG_LOG_COMMITS

    def checkpoint(self) -> None:
        """Copy the log into the database, so that no transaction has to."""
        self._commits_in_log = 0
        with suppress(sqlite3.Error):  # a transaction will do it
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # The account

    def claim(self, host: str, partition: int | None = None) -> int | None:
        """Check that the file belongs to a host and a partition, and store what is new.

        Returns:
            The partition; None if it is not known yet.

        Raises:
            OutboxFileError: The file belongs to another host or account.
        """
        with self._transaction():
            own_host, own_partition = self._connection.execute(
                "SELECT host, partition FROM account"
            ).fetchone()
            if own_host not in {None, host}:
                raise OutboxFileError(
                    f"{self._path} belongs to {own_host}, the client to {host}: use another file"
                )
            if None not in {own_partition, partition} and own_partition != partition:
                raise OutboxFileError(
                    f"{self._path} belongs to another account than the id: its partition is "
                    f"{own_partition}, that of the id is {partition}"
                )
            partition = own_partition if partition is None else partition
            self._connection.execute(
                "UPDATE account SET host = ?, partition = ?", (host, partition)
            )
        return partition

    # Recording

    def commit(self, writes: Sequence[NewWrite], delivered: Sequence[PendingWrite]) -> Commit:
        """Delete delivered writes, then record new ones.

        Raises:
            OutboxStorageError: Nothing was changed, for example because the disk is full.
        """
        try:
            return self._commit(writes, delivered)
        except OutboxStorageError as error:
            code: int = getattr(error.__cause__, "sqlite_errorcode", 0)
            if code & _PRIMARY_CODE not in _NEEDS_ROOM:
                raise
        # Once its content is in the database, the log starts again and needs no room.
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        return self._commit(writes, delivered)

    def _commit(self, writes: Sequence[NewWrite], delivered: Sequence[PendingWrite]) -> Commit:
        with self._transaction() as totals:
            if delivered:
                self._delete_delivered(totals, delivered)
            dropped: list[int] = []
            first = totals.last_sequence + 1
            sequences: list[int | OutboxFullError]
            if self._options.is_limited:
                sequences = self._admit(totals, writes, dropped)
            else:
                sequences = [*range(first, first + len(writes))]
                totals.items += len(writes)
                totals.bytes += sum([len(write.body) for write in writes])
            totals.last_sequence += sum([type(sequence) is int for sequence in sequences])
            if totals.last_sequence >= first:
                self._insert(sequences, writes)
        return Commit(sequences, totals.items, dropped)

    def _insert(
        self, sequences: Sequence[int | OutboxFullError], writes: Sequence[NewWrite]
    ) -> None:
        execute = self._connection.execute
        values: list[object] = []
        count = 0
        for sequence, write in zip(sequences, writes, strict=False):
            if type(sequence) is not int:
                continue
            instance = write.instance
            if instance is None:
                instance = self._instance_of(write.target)
            elif write.opens_span:  # now, because the next write may refer to it
                execute("INSERT OR REPLACE INTO spans VALUES (?, ?)", (write.target, instance))
            values += (
                sequence,
                instance,
                write.type,
                write.key,
                write.target,
                write.parent,
                write.body,
                write.recorded_at,
            )
            count += 1
            if count == _ROWS_PER_STATEMENT:
                execute(self._insert_full, values)
                values, count = [], 0
        if count:
            execute(_insert_statement(count), values)

    def _instance_of(self, span_id: str) -> str:
        """Return the instance of a span, or the span itself if the outbox did not create it."""
        row = self._connection.execute(
            "SELECT instance FROM spans WHERE id = ?", (span_id,)
        ).fetchone()
        return span_id if row is None else str(row[0])

    def _admit(
        self, totals: Totals, writes: Sequence[NewWrite], dropped: list[int]
    ) -> list[int | OutboxFullError]:
        """Choose the writes that fit within the limits, and count them."""
        options = self._options
        sequences: list[int | OutboxFullError] = []
        if options.when_full == "drop_oldest":
            self._make_room(totals, writes, dropped)
        sequence = totals.last_sequence
        for write in writes:
            size = len(write.body)
            problem = self._problem(totals, 1, size)
            if problem is None:
                sequence += 1
                totals.items += 1
                totals.bytes += size
                sequences.append(sequence)
                continue
            if options.when_full == "wait" and size <= (options.max_bytes or size):
                break
            sequences.append(OutboxFullError(problem))
        return sequences

    def _problem(self, totals: Totals, items: int, size: int) -> str | None:
        max_items, max_bytes = self._options.max_items, self._options.max_bytes
        if max_items is not None and totals.items + items > max_items:
            return f"the outbox is full: it has {totals.items} writes (max_items={max_items})"
        if max_bytes is not None and totals.bytes + size > max_bytes:
            return (
                f"the outbox is full: it has {totals.bytes} bytes, the write has {size} "
                f"(max_bytes={max_bytes})"
            )
        return None

    def _make_room(self, totals: Totals, writes: Sequence[NewWrite], dropped: list[int]) -> None:
        """Drop the oldest instances of which no row may be in flight."""
        size = sum(len(write.body) for write in writes)
        execute = self._connection.execute
        while self._problem(totals, len(writes), size) is not None:
            oldest = execute(
                "SELECT instance FROM pending WHERE sequence > ? AND instance NOT IN "
                "(SELECT instance FROM pending WHERE sequence <= ?) ORDER BY sequence LIMIT 1",
                (totals.loaded_sequence, totals.loaded_sequence),
            ).fetchone()
            if oldest is None:
                return
            rows = execute(
                "SELECT sequence, type, target, length(body) FROM pending WHERE instance = ?",
                oldest,
            ).fetchall()
            execute("DELETE FROM pending WHERE instance = ?", oldest)
            for sequence, type_, target, length in rows:
                dropped.append(sequence)
                totals.items -= 1
                totals.bytes -= length
                totals.dropped += 1
                if type_ in CREATES:
                    # Its later writes are dropped, too.
                    execute(
                        "INSERT OR REPLACE INTO dropped VALUES (?, ?)",
                        (target, writes[0].recorded_at),
                    )

    def _delete_delivered(self, totals: Totals, delivered: Sequence[PendingWrite]) -> None:
        deleted = self._delete(totals, [row.sequence for row in delivered], delivered)
        totals.delivered += deleted
        for row in delivered:
            if row.type == FINISH_SPAN:
                self._connection.execute("DELETE FROM spans WHERE id = ?", (row.target,))

    def _delete(
        self, totals: Totals, sequences: Sequence[int], rows: Sequence[PendingWrite]
    ) -> int:
        """Delete pending rows and subtract them from the totals."""
        execute = self._connection.execute
        deleted = 0
        for start in range(0, len(sequences), _IDS_PER_STATEMENT):
            part = sequences[start : start + _IDS_PER_STATEMENT]
            deleted += execute(
                f"DELETE FROM pending WHERE sequence IN ({_marks(len(part))})", part
            ).rowcount
        if deleted == len(rows):
            totals.items -= deleted
            totals.bytes -= sum([len(row.body) for row in rows])
        else:  # some were deleted before
            totals.items, totals.bytes = execute(
                "SELECT count(*), coalesce(sum(length(body)), 0) FROM pending"
            ).fetchone()
        return deleted

    # Delivery

    def start_delivery(self, now: float) -> int:
        """Forget old dropped instances.

        Returns:
            The sequence up to which an earlier process may have sent the rows.
        """
        with self._transaction() as totals:
            self._connection.execute(
                "DELETE FROM dropped WHERE dropped_at < ?", (now - _KEEP_DROPPED_SECONDS,)
            )
        return totals.loaded_sequence

    def load(self, after: int, max_rows: int, max_bytes: int, now: float) -> Page:
        """Read the next rows, which are in flight from now on."""
        with self._transaction() as totals:
            rows = self._read(
                f"SELECT {_PENDING} FROM pending WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, max_rows),
                max_bytes,
            )
            is_last = not rows or rows[-1].sequence >= totals.last_sequence
            page = Page(rows, rows[-1].sequence if rows else after, is_last, [], [])
            totals.loaded_sequence = max(totals.loaded_sequence, page.last)
            self._set_aside(totals, page, now)
        return page

    def load_instance(self, instance: str, until: int, max_rows: int, now: float) -> Page:
        """Read rows of one instance up to a sequence again."""
        with self._transaction() as totals:
            rows = self._read(
                f"SELECT {_PENDING} FROM pending WHERE sequence <= ? AND instance = ? "
                "ORDER BY sequence LIMIT ?",
                (until, instance, max_rows),
                None,
            )
            page = Page(rows, until, len(rows) < max_rows, [], [])
            self._set_aside(totals, page, now)
        return page

    def _read(
        self, query: str, parameters: Sequence[object], max_bytes: int | None
    ) -> list[PendingWrite]:
        cursor = self._connection.execute(query, parameters)
        if max_bytes is None:
            return [PendingWrite(*row) for row in cursor]
        rows: list[PendingWrite] = []
        for values in cursor:
            row = PendingWrite(*values)
            rows.append(row)
            max_bytes -= len(row.body)
            if max_bytes <= 0:
                break
        cursor.close()
        return rows

    def _set_aside(self, totals: Totals, page: Page, now: float) -> None:
        """Remove rows that refer to a dead letter or to a dropped instance from a page."""
        [has_dead, has_dropped] = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM dead), EXISTS (SELECT 1 FROM dropped)"
        ).fetchone()
        if not has_dead and not has_dropped:
            return
        kept: list[PendingWrite] = []
        for row in page.rows:
            ids = {row.instance, row.target, row.parent} - {None}
            if row.type in CREATES:
                ids.discard(row.target)
            dropped = self._find(f"SELECT id FROM dropped WHERE id IN ({_marks(len(ids))})", ids)
            blocker = self._find(
                "SELECT sequence, blocked_by, type, target FROM dead "
                f"WHERE target IN ({_marks(len(ids))}) AND type IN (?, ?) "
                "ORDER BY sequence LIMIT 1",
                [*ids, *CREATES],
            )
            if dropped is not None:
                self._delete(totals, [row.sequence], [row])
                totals.dropped += 1
                page.dropped.append(row.sequence)
                if row.type in CREATES:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO dropped VALUES (?, ?)", (row.target, now)
                    )
            elif blocker is not None:
                sequence, blocked_by, type_, target = blocker
                error = OutboxBlockedError(
                    f"not sent: it refers to {target}, whose {type_} is dead letter {sequence}"
                )
                root = int(sequence if blocked_by is None else blocked_by)
                page.blocked.append(self._bury(totals, row, "blocked", error, now, root))
            else:
                kept.append(row)
        page.rows = kept

    def _find(self, query: str, parameters: Iterable[object]) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(query, [*parameters]).fetchone()
        return found

    def mark_unknown(self, row: PendingWrite, error: str, now: float) -> None:
        """Note that a delivery has ended without a definite answer."""
        with self._transaction():
            self._connection.execute(
                "UPDATE pending SET tries = tries + 1, last_error = ?, "
                "unknown_since = coalesce(unknown_since, ?) WHERE sequence = ?",
                (error, now, row.sequence),
            )

    # Dead letters

    def bury(self, row: PendingWrite, state: DeadState, error: Exception, now: float) -> DeadLetter:
        """Turn a pending write into a dead letter."""
        with self._transaction() as totals:
            return self._bury(totals, row, state, error, now, None)

    def _bury(
        self,
        totals: Totals,
        row: PendingWrite,
        state: DeadState,
        error: Exception,
        now: float,
        blocked_by: int | None,
    ) -> DeadLetter:
        self._connection.execute(
            f"INSERT OR REPLACE INTO dead ({_COLUMNS}, state, died_at, blocked_by, error) "
            f"SELECT {_COLUMNS}, ?, ?, ?, ? FROM pending WHERE sequence = ?",
            (state, now, blocked_by, record_of(error), row.sequence),
        )
        self._delete(totals, [row.sequence], [row])
        return self._letters("WHERE sequence = ?", [row.sequence])[0]

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """Read dead letters, oldest first."""
        with self._reading():
            return self._letters("WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit))

    def _letters(self, condition: str, parameters: Sequence[object]) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        for row in self._connection.execute(f"SELECT {_DEAD} FROM dead {condition}", parameters):
            sequence, instance, type_, key, target, state, recorded, died, blocked_by, data = row
            text, exception = error_of(state, data, key)
            letters.append(
                DeadLetter(
                    sequence=sequence,
                    agent_instance_id=instance,
                    type=type_,
                    idempotency_key=key,
                    id=target,
                    state=state,
                    recorded_at=recorded,
                    died_at=died,
                    blocked_by=blocked_by,
                    error=text,
                    exception=exception,
                )
            )
        return letters

    def retry(self, sequences: Collection[int] | None) -> int:
        """Turn dead letters into pending writes again, behind all others, in order.

        Args:
            sequences: The dead letters; None for all. Those that they block are included.
        """
        with self._transaction() as totals:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS}, state, blocked_by FROM dead ORDER BY sequence"
            ).fetchall()
            chosen = None if sequences is None else set(sequences)
            retried = 0
            for sequence, *columns, state, blocked_by in rows:
                if chosen is not None and not {sequence, blocked_by} & chosen:
                    continue
                totals.last_sequence += 1
                totals.items += 1
                totals.bytes += len(columns[5])
                # It may have been applied, unlike one that was refused or never sent.
                tries = int(state == "unknown")
                self._connection.execute(
                    f"INSERT INTO pending ({_COLUMNS}, tries) VALUES ({_marks(9)})",
                    (totals.last_sequence, *columns, tries),
                )
                self._connection.execute("DELETE FROM dead WHERE sequence = ?", (sequence,))
                retried += 1
        return retried

    def drop(self, sequences: Collection[int] | None) -> int:
        """Delete dead letters; None for all."""
        with self._transaction():
            if sequences is None:
                return self._connection.execute("DELETE FROM dead").rowcount
            return sum(
                self._connection.execute("DELETE FROM dead WHERE sequence = ?", (each,)).rowcount
                for each in set(sequences)
            )

    # Reading

    @contextmanager
    def _reading(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise OutboxStorageError(f"cannot read the outbox {self._path}: {exc}") from exc

    def stats(self, now: float) -> OutboxStats:
        """Read the counters."""
        with self._reading():
            return read_stats(self._connection, now)

    def describe(self) -> tuple[str | None, str | None]:
        """Return the host that the file belongs to, and the last error of the oldest write."""
        with self._reading():
            row = self._connection.execute(
                "SELECT host, (SELECT last_error FROM pending ORDER BY sequence LIMIT 1) "
                "FROM account"
            ).fetchone()
        return row[0], row[1]

    def has_encoded_bodies(self) -> bool:
        """Whether the bodies were converted before they were stored; see `Outbox`."""
        with self._reading():
            row = self._connection.execute(
                "SELECT body FROM (SELECT body FROM pending LIMIT 1) "
                "UNION ALL SELECT body FROM (SELECT body FROM dead LIMIT 1) LIMIT 1"
            ).fetchone()
        return row is not None and not bytes(row[0]).startswith(b'{"_type":')

    def last_sequence(self) -> int:
        """Return the last sequence that was assigned, by any process."""
        with self._reading():
            return int(self._connection.execute("SELECT last_sequence FROM totals").fetchone()[0])

    def has_pending(self, until: int) -> bool:
        """Whether a write up to a sequence is pending."""
        with self._reading():
            query = "SELECT EXISTS (SELECT 1 FROM pending WHERE sequence <= ?)"
            return bool(self._connection.execute(query, (until,)).fetchone()[0])

    def resolved(self, sequences: Collection[int]) -> dict[int, DeadLetter | None]:
        """Return which of these writes are not pending anymore, with the letters of dead ones."""
        found: dict[int, DeadLetter | None] = {}
        with self._reading():
            for sequence in sequences:
                query = "SELECT 1 FROM pending WHERE sequence = ?"
                if self._connection.execute(query, (sequence,)).fetchone() is None:
                    letters = self._letters("WHERE sequence = ?", [sequence])
                    found[sequence] = letters[0] if letters else None
        return found


def read_stats(connection: sqlite3.Connection, now: float) -> OutboxStats:
    """Read the counters of a file."""
    items, size, delivered, dropped, dead, oldest = connection.execute(
        "SELECT items, bytes, delivered, dropped, (SELECT count(*) FROM dead), "
        "(SELECT recorded_at FROM pending ORDER BY sequence LIMIT 1) FROM totals"
    ).fetchone()
    return OutboxStats(
        pending=items,
        bytes=size,
        dead=dead,
        delivered=delivered,
        dropped=dropped,
        oldest_age=None if oldest is None else max(0.0, now - oldest),
    )


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _insert_statement(count: int) -> str:
    values = ", ".join([f"({_marks(8)})"] * count)
    return f"INSERT INTO pending ({_COLUMNS}) VALUES {values}"
