"""``prefactor-http outbox retry``: dead letters are delivered again."""

from __future__ import annotations

from pathlib import Path

import click

from prefactor_http.cli.outbox.file import chosen, file_command, opened, sequence_options
from prefactor_http.cli.output import Output


@click.command(short_help="Deliver dead letters again.")
@file_command
@sequence_options
def retry(output: Output, path: Path, numbers: tuple[int, ...], take_all: bool) -> None:
    """Make dead letters of the outbox FILE pending again, behind all other writes.

    Those that a dead letter blocks are included, in order. The process that delivers FILE delivers
    them, or `prefactor-http outbox drain`.
    """
    with opened(path) as database:
        retried = database.retry(chosen(database, path, numbers, take_all=take_all))
    what = "1 write is" if retried == 1 else f"{retried:,} writes are"
    output.show([f"{what} pending again."], {"retried": retried})
