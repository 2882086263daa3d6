"""``prefactor-http outbox status``: the counters of an outbox."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from prefactor_http.cli.durations import duration
from prefactor_http.cli.outbox.file import file_command, next_command, opened
from prefactor_http.cli.output import Output
from prefactor_http.outbox.lock import ForwarderLock
from prefactor_http.outbox.rows import OutboxStats

_UNITS = ("B", "kB", "MB", "GB", "TB")
_KILO = 1000


@click.command(short_help="Show what waits, and what was not delivered.")
@file_command
def status(output: Output, path: Path) -> None:
    """Show the counters of the outbox FILE.

    `delivered` and `dropped` count since the file was created.
    """
    with opened(path) as database:
        stats = database.stats(time.time())
        host, last_error = database.describe()
        lock = ForwarderLock(path)
        is_delivering = not lock.acquire()
        lock.release()
    rows: list[tuple[str, object]] = [
        ("outbox", path),
        ("API", host or "not known yet"),
        ("delivery", "a process delivers" if is_delivering else "no process delivers"),
        ("pending", _pending(stats)),
        ("last error", last_error),
        ("dead letters", f"{stats.dead:,}"),
        ("delivered", f"{stats.delivered:,}"),
        ("dropped", f"{stats.dropped:,}"),
    ]
    value = {
        "path": str(path),
        "host": host,
        "is_delivering": is_delivering,
        **msgspec.to_builtins(stats),
        "last_error": last_error,
    }
    output.show([f"{name:<15} {text}" for name, text in rows if text is not None], value)
    if stats.pending and not is_delivering:
        output.say(f"To deliver the pending writes, run: {next_command('drain', path)}")
    if stats.dead:
        output.say(f"To see the dead letters, run: {next_command('dead', path)}")


def _pending(stats: OutboxStats) -> str:
    if stats.oldest_age is None:
        return "0"
    age = duration(stats.oldest_age)
    return f"{stats.pending:,} ({_size(stats.bytes)}), the oldest recorded {age} ago"


def _size(count: int) -> str:
    """Return a size as text, such as ``3.1 MB``."""
    size, power = float(count), 0
    while size >= _KILO and power < len(_UNITS) - 1:
        size, power = size / _KILO, power + 1
    return f"{size:.1f} {_UNITS[power]}" if power else f"{count} B"
