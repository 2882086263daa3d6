"""The ``prefactor-http`` command, which the extra ``cli`` brings (click and rich)."""

import sys

from prefactor_http.cli.event_loop import exit_from_lookups

_USAGE = 2


def main() -> None:
    """Run the command, or say what to install when click or rich is missing."""
    try:
        # Inside, so that the script can be installed without the extra and still say why it fails.
        from prefactor_http.cli.command import command  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        print("prefactor-http: install prefactor-http[cli]", file=sys.stderr)
        sys.exit(_USAGE)
    try:
        command()
    except SystemExit as ended:
        exit_from_lookups(int(ended.code or 0))
        raise


__all__ = ["main"]
