"""The ``prefactor-http`` command. The extra ``cli`` installs what it needs: click and rich."""

import sys

from prefactor_http.cli.event_loop import exit_despite_lookups
from prefactor_http.cli.exit_codes import ExitCode


def main() -> None:
    """Run the command, or print what to install if click or rich is missing."""
    try:
        # Imported here because the script is also installed without the extra.
        from prefactor_http.cli.command import command  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        print(
            "prefactor-http: click and rich are missing. Run: pip install 'prefactor-http[cli]'",
            file=sys.stderr,
        )
        sys.exit(ExitCode.USAGE)
    try:
        command()
    except SystemExit as exc:
        exit_despite_lookups(int(exc.code or 0))
        raise


__all__ = ["main"]
