"""Why the command failed, and the code that it exits with."""

from __future__ import annotations

import click

from prefactor_http.cli.signals import Stopped


class Problem(click.ClickException):
    """Why the command failed; subclasses say how it exits.

    Args:
        message: What happened.
        further: What it means and what to do next, a line each.
        fields: More for machines.

    Attributes:
        code: The code to exit with.
    """

    def __init__(self, message: str, *further: str, **fields: object) -> None:
        super().__init__(message)
        self.code: int = self.exit_code
        self.further = further
        self.fields = fields


class Refused(Problem):
    """The API refused the call, or rows of a file."""

    exit_code = 1


class WrongUsage(Problem):
    """The command line, a file or the environment is wrong; nothing was sent."""

    exit_code = 2


class Unsettled(Problem):
    """The outcome is unknown, or the API cannot be reached: a later try may succeed."""

    exit_code = 3


class Invalid(Problem):
    """A dry run found rows that cannot be registered."""

    exit_code = 4


class Interrupted(Problem):
    """A signal ended the command.

    Args:
        stopped: The signal.
        message: What happened.
        further: As of `Problem`.
        fields: As of `Problem`.
    """

    def __init__(self, stopped: Stopped, message: str, *further: str, **fields: object) -> None:
        super().__init__(message, *further, **fields)
        self.code: int = stopped.exit_code


OUTPUT_LOST = 5
"""Exit code of a command that succeeded, but could not write its output."""
