"""``prefactor-http register``, ``start``, ``finish`` and ``show``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import BinaryIO, cast, get_args

import click

from prefactor_http.cli._api_call import Connection, api_options, call_api
from prefactor_http.cli._output import WrongUsage, echo_instance, echo_json
from prefactor_http.cli._register_file import read_register_file
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.idempotency import check_key, new_key
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.types import FinishStatus


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Key of the call: repeated with the same key, it registers once.",
)
@api_options
def register(connection: Connection, file: BinaryIO, idempotency_key: str | None) -> None:
    """Register the agent instance that FILE describes.

    FILE, or standard input for `-`, holds a JSON object: agent_version and agent_schema_version;
    agent_id and environment_id with an account's token; id, external_identifier, purpose,
    update_current_version and idempotency_key as you like.
    """
    fields = read_register_file(file)
    from_file = fields.pop("idempotency_key", None)
    key = idempotency_key or from_file or new_key()
    try:
        check_key(key)
    except ValueError as exc:
        raise WrongUsage(f"{exc}.") from None
    _call(
        connection,
        lambda client: client.agent_instances.register(**fields, idempotency_key=key),
        f"To register it once and for all, repeat the command with --idempotency-key {key}",
    )


@click.command()
@click.argument("id")
@api_options
def start(connection: Connection, id: str) -> None:
    """Start the pending agent instance ID."""
    _call(connection, lambda client: client.agent_instances.start(id), _look(id))


@click.command()
@click.argument("id")
@click.option(
    "--status",
    type=click.Choice(get_args(FinishStatus)),
    default="complete",
    show_default=True,
    help="How it ended; only a pending instance can be cancelled.",
)
@api_options
def finish(connection: Connection, id: str, status: str) -> None:
    """Finish the agent instance ID."""
    ended = cast("FinishStatus", status)
    _call(connection, lambda client: client.agent_instances.finish(id, ended), _look(id))


@click.command()
@click.argument("id")
@api_options
def show(connection: Connection, id: str) -> None:
    """Show the agent instance ID."""
    _call(connection, lambda client: client.agent_instances.get(id), None)


def _look(instance_id: str) -> str:
    return f"See where it stands: prefactor-http show {instance_id}"


def _call(
    connection: Connection,
    call: Callable[[PrefactorHttpClient], Awaitable[AgentInstance]],
    if_unknown: str | None,
) -> None:
    instance = call_api(connection, call, if_unknown=if_unknown)
    if connection.as_json:
        echo_json(instance)
    else:
        echo_instance(instance)
