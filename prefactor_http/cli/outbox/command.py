"""``prefactor-http outbox``: the group of the commands on a file."""

from __future__ import annotations

import click

from prefactor_http.cli.outbox.dead import dead
from prefactor_http.cli.outbox.drain import drain
from prefactor_http.cli.outbox.drop import drop
from prefactor_http.cli.outbox.retry import retry
from prefactor_http.cli.outbox.status import status


class _InOrderOfUse(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)


@click.group(cls=_InOrderOfUse, subcommand_metavar="COMMAND FILE")
def outbox() -> None:
    """Look at the file of an outbox, deliver it, and handle its dead letters.

    All of these commands can be used while programs use the file. Only `drain` calls the API.
    """


for _subcommand in (status, drain, dead, retry, drop):
    outbox.add_command(_subcommand)
