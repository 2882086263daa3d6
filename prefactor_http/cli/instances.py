"""``prefactor-http start``, ``finish`` and ``terminate``: change one agent instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast, get_args

import click

from prefactor_http.cli.api_call import call_api
from prefactor_http.cli.connection import Connection, api_options
from prefactor_http.cli.error_messages import Advice
from prefactor_http.cli.output import instance_lines
from prefactor_http.cli.parameter_types import TEXT
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.types import FinishStatus


@click.command()
@click.argument("id", type=TEXT)
@api_options
def start(connection: Connection, id: str) -> None:
    """Start the pending agent instance ID."""
    call_and_show(connection, lambda client: client.agent_instances.start(id), _check(id))


@click.command()
@click.argument("id", type=TEXT)
@click.option(
    "--status",
    type=click.Choice(get_args(FinishStatus)),
    default="complete",
    show_default=True,
    help="How the run ended. Only a pending instance can be cancelled.",
)
@api_options
def finish(connection: Connection, id: str, status: str) -> None:
    """Finish the agent instance ID."""
    ended = cast("FinishStatus", status)
    call_and_show(connection, lambda client: client.agent_instances.finish(id, ended), _check(id))


@click.command()
@click.argument("id", type=TEXT)
@click.option("--reason", type=TEXT, required=True, metavar="TEXT", help="Why it is terminated.")
@api_options
def terminate(connection: Connection, id: str, reason: str) -> None:
    """Terminate the active agent instance ID.

    The agent is asked to stop. This cannot be undone.
    """
    call_and_show(
        connection, lambda client: client.agent_instances.terminate(id, reason), _check(id)
    )


def _check(instance_id: str) -> str:
    return f"To check its status, run: prefactor-http show {instance_id}"


def call_and_show(
    connection: Connection,
    call: Callable[[PrefactorHttpClient], Awaitable[AgentInstance]],
    if_unknown: str | None,
    idempotency_key: str | None = None,
) -> None:
    """Make a call and print the instance that it returns.

    Args:
        connection: How to reach the API.
        call: Makes the call.
        if_unknown: For a write, what to do if its outcome is unknown.
        idempotency_key: The call's key, if it is known here.
    """
    advice = Advice(if_unknown)
    instance = call_api(connection, call, advice=advice, idempotency_key=idempotency_key)
    connection.output.show(instance_lines(instance), instance)
