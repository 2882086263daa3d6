"""The command and its subcommands at a glance."""

from __future__ import annotations

import logging

import click

from prefactor_http._version import __version__
from prefactor_http.cli._demo import demo
from prefactor_http.cli._instances import finish, show, start
from prefactor_http.cli._ping import ping
from prefactor_http.cli._register import register
from prefactor_http.cli._serve import serve


class _InOrder(click.Group):
    """Lists its commands as they were added: the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, package_name="prefactor-http")
def command() -> None:
    """Register, start and finish agent instances of the Prefactor API, safely.

    The API's address and token come from PREFACTOR_API_URL and PREFACTOR_API_TOKEN. `demo` and
    `serve` need neither: they bring an API of their own.

    Exit codes: 0 done, 1 refused by the API, 2 wrong usage, 3 outcome unknown or API away.
    """
    # The package warns through logging, too; unconfigured, that would end up among our errors.
    logging.getLogger("prefactor_http").addHandler(logging.NullHandler())


for _subcommand in (demo, serve, ping, register, start, finish, show):
    command.add_command(_subcommand)
