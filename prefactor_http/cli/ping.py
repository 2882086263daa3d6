"""``prefactor-http ping``: check the address and the token."""

from __future__ import annotations

import click

from prefactor_http.cli.api_call import call_api
from prefactor_http.cli.connection import Connection, api_options
from prefactor_http.cli.error_messages import Advice


@click.command(short_help="Check the address and the token.")
@api_options
def ping(connection: Connection) -> None:
    """Check that the API is reachable and accepts the token."""
    advice = Advice(if_foreign=f"{connection.url} is not a Prefactor API")
    response = call_api(connection, lambda client: client.validate_token(), advice=advice)
    connection.output.show([f"{connection.url} accepts the token."], response)
