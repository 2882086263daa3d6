"""``prefactor-http list``: agent instances as a table."""

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
from prefactor_http.endpoints.page import Page
from prefactor_http.exceptions import PrefactorValidationError
from prefactor_http.models.agent_instance import AgentInstanceSummary

_NEWEST_FIRST = "-id"  # ids sort by time
_MAX_PAGE_SIZE = 100
_COLUMNS = (
    Column("id"),
    Column("status", is_status=True),
    Column("duration", rank=1, is_number=True),
    Column("registered (UTC)", rank=2),
    Column("agent version", rank=3),
)


class _Listing:
    """The result of the call.

    Attributes:
        instances: The instances, at most as many as wanted.
        total: How many there are in all; None if the API does not say.
        is_newest_first: Whether the API could sort them.
    """

    def __init__(self, page: Page[AgentInstanceSummary], *, is_newest_first: bool) -> None:
        self.instances: list[AgentInstanceSummary] = []
        self.total: int | None = page.pagination.item_count
        self.is_newest_first: bool = is_newest_first


@click.command("list")
@click.option("--agent", type=TEXT, metavar="ID", help="Only instances of this agent.")
@click.option("--version", type=TEXT, metavar="ID", help="Only instances of this agent version.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Maximum number of instances.",
)
@api_options
def list_instances(
    connection: Connection, agent: str | None, version: str | None, limit: int
) -> None:
    """List agent instances, newest first.

    A narrow terminal shows fewer columns. With --json, each instance is a line of JSON.
    """
    output = connection.output
    listing = call_api(connection, lambda client: _read(client, agent, version, limit))
    found, now = listing.instances, datetime.now(UTC)
    rows = [
        (
            escape(instance.id),
            escape(instance.status),
            time_taken(instance.started_at, instance.finished_at, now),
            utc(instance.inserted_at),
            escape(instance.agent_version_id),
        )
        for instance in found
    ]
    output.show_items(table(_COLUMNS, rows, output.screen) if rows else [], found)
    if not listing.is_newest_first:
        output.warn("this API cannot sort by id: the instances are in its own order")
    if not rows:
        output.say("No agent instances were found.")
    elif listing.total is not None and listing.total > len(rows):
        output.say(f"{len(rows)} of {listing.total} instances. To show more, add --limit N.")


async def _read(
    client: PrefactorHttpClient, agent: str | None, version: str | None, limit: int
) -> _Listing:
    size = min(limit, _MAX_PAGE_SIZE)
    instances = client.agent_instances
    try:
        page = await instances.list(agent, version, _NEWEST_FIRST, page_size=size)
        listing = _Listing(page, is_newest_first=True)
    except PrefactorValidationError:
        # Some versions of the API refuse this form of sorting. If it refused something else, the
        # second call fails, too.
        page = await instances.list(agent, version, page_size=size)
        listing = _Listing(page, is_newest_first=False)
    async for instance in page:
        listing.instances.append(instance)
        if len(listing.instances) == limit:
            break
    return listing
