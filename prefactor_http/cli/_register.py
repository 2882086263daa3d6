"""``prefactor-http register``: one instance, or as many as a file has rows."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from prefactor_http.cli._api_call import Connection, api_options
from prefactor_http.cli._instances import call_and_show
from prefactor_http.cli._job import Bounds
from prefactor_http.cli._output import WrongUsage
from prefactor_http.cli._register_file import name_of, read_part, read_register_file
from prefactor_http.cli._register_rows import register_rows
from prefactor_http.cli._rows import on_disk, unpacked
from prefactor_http.idempotency import check_key, new_key
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)

_FORMATS = {"json": "json", "jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv"}


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "jsonl", "csv"]),
    help="Format of FILE; by default as its name ends.",
)
@click.option(
    "--agent-version", type=click.File("rb"), metavar="FILE", help="Version of rows without one."
)
@click.option(
    "--schema", type=click.File("rb"), metavar="FILE", help="Schema version of rows without one."
)
@click.option(
    "--agent-id",
    metavar="ID",
    envvar="PREFACTOR_AGENT_ID",
    show_envvar=True,
    help="Agent of rows without one.",
)
@click.option(
    "--environment-id",
    metavar="ID",
    envvar="PREFACTOR_ENVIRONMENT_ID",
    show_envvar=True,
    help="Environment of rows without one.",
)
@click.option("--job", metavar="NAME", help="Name of the job, which each row's key is made with.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="RESULTS.jsonl",
    help="Where results go, a line a row; with --job, also where to go on.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Most requests in flight.",
)
@click.option(
    "--max-failures", type=click.IntRange(min=1), metavar="N", help="Stop after N refused rows."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest that the API may be away.",
)
@click.option("--dry-run", is_flag=True, help="Check the rows, and send nothing.")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Key of the call, for one instance: repeated with the same key, it registers once.",
)
@api_options
def register(
    connection: Connection,
    file: BinaryIO,
    kind: str | None,
    agent_version: BinaryIO | None,
    schema: BinaryIO | None,
    agent_id: str | None,
    environment_id: str | None,
    job: str | None,
    out: str | None,
    concurrency: int,
    max_failures: int | None,
    patience: float,
    dry_run: bool,
    idempotency_key: str | None,
) -> None:
    """Register the agent instances that FILE describes.

    FILE, or standard input for `-`, is gzipped or not. A .json file holds one object:
    agent_version and agent_schema_version; agent_id and environment_id with an account's token;
    id, external_identifier, purpose, update_current_version and idempotency_key as you like.

    A .jsonl, .ndjson or .csv file has any number of rows with the same fields; what a row lacks
    comes from the options. A column agent_version or agent_schema_version of a CSV file holds
    JSON. Standard input is taken for JSON Lines with --job, --out, --max-failures or --dry-run,
    and for one object without; it is read to its end first.

    Going on where a run was stopped, killed or gave up needs --job and --out: run the same
    command again. Without --job the keys are random, and a second run registers all rows again.
    Rows refused before are not sent again, unless they were changed; to send them all the same,
    remove their lines from the results. One run at a time may have a file of results.

    Ctrl-C or SIGTERM lets what is under way end; a second one stops at once.
    """
    name = name_of(file)
    shared: dict[str, Any] = {
        "agent_id": agent_id,
        "environment_id": environment_id,
        "agent_version": agent_version and read_part(agent_version, AgentVersionForRegister),
        "agent_schema_version": schema and read_part(schema, AgentSchemaVersionForRegister),
    }
    shared = {field: value for field, value in shared.items() if value is not None}
    of_many = {"--job": job, "--out": out, "--max-failures": max_failures, "--dry-run": dry_run}
    given = [option for option, value in of_many.items() if value]
    if kind is None:
        kind = _kind_of(name) or ("jsonl" if given else "json")
    if kind == "json":
        if given:
            raise WrongUsage(f"{given[0]} is for files of many rows (.jsonl, .ndjson, .csv).")
        _register_one(connection, file, name, shared, idempotency_key)
        return
    if idempotency_key is not None:
        raise WrongUsage("--idempotency-key is for one instance; many rows want --job.")
    bounds = Bounds(concurrency, max_failures, patience, connection.deadline, dry_run)
    register_rows(connection, on_disk(file), name, kind, shared, job, out, bounds)


def _kind_of(name: str) -> str | None:
    return _FORMATS.get(name.lower().removesuffix(".gz").rpartition(".")[2])


def _register_one(
    connection: Connection,
    file: BinaryIO,
    name: str,
    shared: dict[str, Any],
    idempotency_key: str | None,
) -> None:
    fields = read_register_file(unpacked(on_disk(file)), name, shared)
    from_file = fields.pop("idempotency_key", None)
    key = idempotency_key or from_file or new_key()
    try:
        check_key(key)
    except ValueError as exc:
        raise WrongUsage(f"{exc}.") from None
    call_and_show(
        connection,
        lambda client: client.agent_instances.register(**fields, idempotency_key=key),
        f"To register it once and for all, repeat the command with --idempotency-key {key}",
    )
