"""Errors that end the command, each with its exit code."""

from __future__ import annotations

from typing import ClassVar

import click

from prefactor_http.cli.exit_codes import ExitCode
from prefactor_http.cli.signals import Stopped


class CommandError(click.ClickException):
    """The command failed; subclasses set the exit code.

    Args:
        message: What happened.
        further: What it means and what to do next, one line each.
        fields: Additional fields of the JSON report.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: str, *further: str, **fields: object) -> None:
        super().__init__(message)
        self.code: int = self.exit_code
        self.further = further
        self.fields = fields


class RefusedError(CommandError):
    """The API refused the call, or rows of a file."""

    exit_code: ClassVar[int] = ExitCode.REFUSED


class InputError(CommandError):
    """The command line, a file or the environment is wrong; nothing was sent."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class RetryLaterError(CommandError):
    """The outcome is unknown, or the API cannot be reached: a later run may succeed."""

    exit_code: ClassVar[int] = ExitCode.UNKNOWN


class InvalidRowsError(CommandError):
    """A dry run found rows that cannot be registered."""

    exit_code: ClassVar[int] = ExitCode.INVALID_ROWS


class StoppedError(CommandError):
    """A signal ended the command.

    Args:
        stopped: The signal.
        message: What happened.
        further: See `CommandError`.
        fields: See `CommandError`.
    """

    def __init__(self, stopped: Stopped, message: str, *further: str, **fields: object) -> None:
        super().__init__(message, *further, **fields)
        self.code: int = stopped.exit_code
