"""``prefactor-http outbox dead``: the dead letters as a table."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import structs

from prefactor_http.cli.durations import utc
from prefactor_http.cli.escape import escape
from prefactor_http.cli.outbox.file import file_command, next_command, opened
from prefactor_http.cli.output import Output
from prefactor_http.cli.table import Column, table
from prefactor_http.outbox.rows import DeadLetter

_COLUMNS = (
    Column("number", is_number=True),
    Column("state"),
    Column("call", rank=2),
    Column("id", rank=1),
    Column("recorded (UTC)", rank=3),
    Column("error", min_width=24),
)


@click.command(short_help="List what was not delivered, with the reasons.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Maximum number of dead letters.",
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="NUMBER",
    help="Only dead letters with a higher number.",
)
@file_command
def dead(output: Output, path: Path, limit: int, after: int) -> None:
    """List the dead letters of the outbox FILE, oldest first.

    A dead letter is a write that will not be delivered unless you retry it. Its state is `refused`
    by the API; `blocked`, because what it refers to could not be created; or `unknown`, if there
    was no definite answer for too long. With --json, each is a line of JSON.
    """
    with opened(path) as database:
        letters = database.dead_letters(after, limit)
        total = database.stats(time.time()).dead
    rows = [
        (
            str(letter.sequence),
            letter.state,
            escape(letter.type),
            escape(letter.id),
            utc(datetime.fromtimestamp(letter.recorded_at, UTC)),
            escape(letter.error),
        )
        for letter in letters
    ]
    items = [_as_json(letter) for letter in letters]
    output.show_items(table(_COLUMNS, rows, output.screen) if rows else [], items)
    if not rows:
        output.say("There are no dead letters." if not after else "There are no more dead letters.")
    else:
        output.say(
            *_more(len(rows), total, letters[-1].sequence),
            f"To deliver them again, run: {next_command('retry', path, ' NUMBER...')}",
        )


def _as_json(letter: DeadLetter) -> dict[str, object]:
    fields = structs.asdict(letter)
    del fields["exception"]
    return fields


def _more(shown: int, total: int, last: int) -> list[str]:
    if shown == total:
        return []
    return [f"{shown} of {total} dead letters. For the next ones, add --after {last}."]
