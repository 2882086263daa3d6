"""``prefactor-http ping``."""

from __future__ import annotations

import click

from prefactor_http.cli._api_call import call_api
from prefactor_http.cli._connection import Connection, api_options


@click.command()
@api_options
def ping(connection: Connection) -> None:
    """Ask the API whether it accepts the token."""
    reply = call_api(connection, lambda client: client.validate_token())
    connection.output.show([f"{connection.config().api_url} accepts the token."], reply)
