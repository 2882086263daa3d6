"""``prefactor-http ping``."""

from __future__ import annotations

import click

from prefactor_http.cli._api_call import Connection, api_options, call_api
from prefactor_http.cli._output import echo_json


@click.command()
@api_options
def ping(connection: Connection) -> None:
    """Ask the API whether it accepts the token."""
    reply = call_api(connection, lambda client: client.validate_token())
    if connection.as_json:
        echo_json(reply)
    else:
        click.echo(f"{connection.config().api_url} accepts the token.")
