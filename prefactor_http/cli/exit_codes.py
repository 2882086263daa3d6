"""The exit codes of the command; ``prefactor-http --help`` lists them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can conclude from how the command ended."""

    DONE = 0
    REFUSED = 1
    """The API refused the call, or rows of the file were refused."""
    USAGE = 2
    """Wrong usage; nothing was sent."""
    UNKNOWN = 3
    """Outcome unknown, API unreachable, or ended by SIGTERM or SIGHUP: a later run may succeed."""
    INVALID_ROWS = 4
    """A dry run found rows that cannot be registered."""
    OUTPUT_LOST = 5
    """Done, but the output could not be written."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C; 128 + SIGINT, as shells report it."""
