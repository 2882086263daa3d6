"""``prefactor-http show``: one agent instance and the tree of its spans."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from prefactor_http.cli.api_call import call_api
from prefactor_http.cli.connection import Connection, api_options
from prefactor_http.cli.durations import time_taken
from prefactor_http.cli.error_messages import error_text
from prefactor_http.cli.output import instance_lines
from prefactor_http.cli.parameter_types import TEXT
from prefactor_http.cli.span_tree import SpanTree
from prefactor_http.cli.spans import read_spans
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.exceptions import PrefactorAuthError
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan


@click.command()
@click.argument("id", type=TEXT)
@click.option("--all", "show_all", is_flag=True, help="Print every span, however many there are.")
@api_options
def show(connection: Connection, id: str, show_all: bool) -> None:
    """Show the agent instance ID and the tree of its spans.

    Each span has its type, its status and how long it took. Of more than 20 spans at the same
    place, the first 10 and the last 5 are printed. With --json, the instance is printed with all
    of its spans in `spans`, which is null if the token may not list spans.
    """
    output = connection.output
    instance, spans, refusal = call_api(connection, lambda client: _read(client, id))
    now = datetime.now(UTC)
    lines = [*instance_lines(instance)]
    taken = time_taken(instance.started_at, instance.finished_at, now)
    if taken:
        lines.append(f"{'duration':<15} {taken}")
    tree = SpanTree(spans or (), now, output.screen, is_complete=show_all)
    branches = tree.lines()
    value = msgspec.to_builtins(instance) | {"spans": spans}
    output.show([*lines, "", *branches] if branches else lines, value)
    if refusal is not None:
        output.warn(f"the spans are not shown: the API refused to list them: {error_text(refusal)}")
    if tree.hidden:
        output.say(f"{tree.hidden} spans are not shown. To show them, add --all.")


async def _read(
    client: PrefactorHttpClient, instance_id: str
) -> tuple[AgentInstance, list[AgentSpan] | None, PrefactorAuthError | None]:
    instance = await client.agent_instances.get(instance_id)
    try:
        return instance, await read_spans(client, instance_id), None
    except PrefactorAuthError as error:  # deployment tokens may read instances, but list nothing
        return instance, None, error
