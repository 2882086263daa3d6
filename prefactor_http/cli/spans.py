"""``prefactor-http spans``: the spans of one agent instance as a table."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from prefactor_http.cli.api_call import call_api
from prefactor_http.cli.connection import Connection, api_options
from prefactor_http.cli.durations import time_taken, utc
from prefactor_http.cli.escape import escape
from prefactor_http.cli.parameter_types import TEXT
from prefactor_http.cli.table import Column, table
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.models.agent_span import AgentSpan

_PAGE_SIZE = 100
_COLUMNS = (
    Column("id", rank=1),
    Column("type", min_width=12),
    Column("status", is_status=True),
    Column("duration", rank=2, is_number=True),
    Column("started (UTC)", rank=3),
    Column("parent", rank=4),
)


@click.command()
@click.argument("id", type=TEXT)
@api_options
def spans(connection: Connection, id: str) -> None:
    """List the spans of the agent instance ID, oldest first.

    A narrow terminal shows fewer columns. With --json, each span is a line of JSON.
    """
    found = call_api(connection, lambda client: _read(client, id))
    now = datetime.now(UTC)
    rows = [
        (
            escape(span.id),
            escape(span.schema_name),
            escape(span.status),
            time_taken(span.started_at, span.finished_at, now),
            utc(span.started_at),
            escape(span.parent_span_id or ""),
        )
        for span in found
    ]
    output = connection.output
    output.show_items(table(_COLUMNS, rows, output.screen) if rows else [], found)
    if not rows:
        output.say("The instance has no spans.")


async def read_spans(client: PrefactorHttpClient, instance_id: str) -> list[AgentSpan]:
    """Read all pages of an instance's spans."""
    page = await client.agent_spans.list(agent_instance_id=instance_id, page_size=_PAGE_SIZE)
    return [span async for span in page]


async def _read(client: PrefactorHttpClient, instance_id: str) -> list[AgentSpan]:
    found = await read_spans(client, instance_id)
    if not found:
        # The API lists no spans for an id that does not exist: this reports it.
        await client.agent_instances.get(instance_id)
    return found
