"""Opens the file of an outbox for a command, and turns its errors into messages."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from prefactor_http.cli.errors import InputError, RetryLaterError
from prefactor_http.cli.output import Output
from prefactor_http.outbox.database import Database
from prefactor_http.outbox.errors import OutboxFileError, OutboxStorageError
from prefactor_http.outbox.options import OutboxOptions

P = ParamSpec("P")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)


def file_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add FILE to a command."""
    return click.argument("path", metavar="FILE", type=_FILE)(command)


def file_command(
    command: Callable[Concatenate[Output, Path, P], None],
) -> Callable[..., None]:
    """Add FILE and ``--json`` to a command that does not call the API."""

    @file_argument
    @click.option("--json", "as_json", is_flag=True, help="Print the result and errors as JSON.")
    @click.pass_obj
    @functools.wraps(command)
    def with_file(
        output: Output, /, path: Path, as_json: bool, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        output.as_json = as_json
        command(output, path, *args, **kwargs)

    return with_file


def sequence_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add NUMBER and ``--all``, which say which dead letters are meant."""
    command = click.option("--all", "take_all", is_flag=True, help="All dead letters.")(command)
    return click.argument("numbers", metavar="[NUMBER]...", type=click.IntRange(min=1), nargs=-1)(
        command
    )


def next_command(name: str, path: Path, rest: str = "") -> str:
    """Return the line to type for another command on the file."""
    return f"prefactor-http outbox {name} {shlex.quote(str(path))}{rest}"


@contextmanager
def opened(path: Path) -> Generator[Database, None, None]:
    """Open the file of an outbox, and turn its errors into errors of the command.

    Raises:
        InputError: The file cannot be used.
        RetryLaterError: It cannot be used now.
    """
    if not path.stat().st_size:  # SQLite would make an outbox of it
        raise InputError(f"{path} is empty.", "Check that it is the file of an outbox.")
    try:
        database = Database(path, OutboxOptions())
        try:
            yield database
        finally:
            database.close()
    except OutboxFileError as exc:
        raise InputError(f"{exc}.", f"Check that {path} is the file of an outbox.") from None
    except OutboxStorageError as exc:
        raise RetryLaterError(f"{exc}.", "Check the disk, then try again.") from None


def chosen(
    database: Database, path: Path, numbers: tuple[int, ...], *, take_all: bool
) -> set[int] | None:
    """Return the dead letters that the command line names; None for all.

    Raises:
        InputError: It names none, or one that does not exist.
    """
    if take_all == bool(numbers):
        raise InputError(
            "which dead letters? Give their numbers, or --all.",
            f"To list them, run: {next_command('dead', path)}",
        )
    if take_all:
        return None
    for number in numbers:
        if [each.sequence for each in database.dead_letters(number - 1, 1)] != [number]:
            raise InputError(
                f"there is no dead letter {number}.",
                f"To list them, run: {next_command('dead', path)}",
            )
    return set(numbers)
