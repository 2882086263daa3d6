"""``prefactor-http outbox drop``: dead letters are deleted."""

from __future__ import annotations

from pathlib import Path

import click

from prefactor_http.cli.outbox.file import chosen, file_command, opened, sequence_options
from prefactor_http.cli.output import Output


@click.command(short_help="Delete dead letters.")
@file_command
@sequence_options
def drop(output: Output, path: Path, numbers: tuple[int, ...], take_all: bool) -> None:
    """Delete dead letters of the outbox FILE for good.

    Those that a dead letter blocks are not deleted with it.
    """
    with opened(path) as database:
        dropped = database.drop(chosen(database, path, numbers, take_all=take_all))
    what = "1 dead letter was" if dropped == 1 else f"{dropped:,} dead letters were"
    output.show([f"{what} deleted."], {"dropped": dropped})
