"""``prefactor-http register``: one instance, or as many as a file has rows."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from prefactor_http.cli.connection import Connection, Seconds, api_options
from prefactor_http.cli.errors import WrongUsage
from prefactor_http.cli.instances import call_and_show
from prefactor_http.cli.register.fields import name_of, read_part, read_register_file
from prefactor_http.cli.register.job import Bounds
from prefactor_http.cli.register.many import JobRequest, register_rows
from prefactor_http.cli.register.rows import on_disk, unpacked
from prefactor_http.cli.register.unknown_keys import KeyCheck
from prefactor_http.idempotency import check_key, new_key

DEFAULT_MAX_OUTAGE = 300.0

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
    "--max-outage",
    type=Seconds(),
    show_default=f"{DEFAULT_MAX_OUTAGE:g}",
    metavar="SECONDS",
    help="Longest time to wait for an API that is down.",
)
@click.option("--patience", type=Seconds(), hidden=True)
@click.option("--dry-run", is_flag=True, help="Check the rows, and send nothing.")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Send unknown keys within agent_version and agent_schema_version, also misspelled ones.",
)
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
    max_outage: float | None,
    patience: float | None,
    dry_run: bool,
    allow_unknown: bool,
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

    To go on where a run was stopped, killed or gave up, run the same command again, with --job and
    --out. Without --job the keys are random, and a second run registers all rows again. Rows
    refused before are not sent again, unless they were changed; to send them again unchanged,
    remove their lines from the results. One run at a time may have a file of results.

    A row that repeats the id, external_identifier or idempotency_key of an earlier row is a
    duplicate: it is reported and not sent.

    Ctrl-C, SIGTERM and SIGHUP let requests in flight be answered, for 5 seconds at most; a second
    one stops at once. `prefactor-http --help` lists the exit codes.
    """
    max_outage = _max_outage(connection, max_outage, patience)
    name = name_of(file)
    for option, text in (("--job", job), ("--out", out)):
        if text is not None and not text.strip():
            raise WrongUsage(f"{option} must not be blank.", "Give it a name; nothing was sent.")
    key_check = KeyCheck(allow_unknown=allow_unknown)
    ids = {"agent_id": agent_id, "environment_id": environment_id}
    shared: dict[str, Any] = {
        field: value for field, value in ids.items() if value is not None and value.strip()
    }
    for field, part in (("agent_version", agent_version), ("agent_schema_version", schema)):
        if part is not None:
            shared[field] = _read_part(connection, part, field, key_check)
    of_many = {
        "--job": job is not None,
        "--out": out is not None,
        "--max-failures": max_failures is not None,
        "--dry-run": dry_run,
    }
    given = [option for option, is_given in of_many.items() if is_given]
    if kind is None:
        kind = _kind_of(name) or ("jsonl" if given else "json")
    if kind == "json":
        if given:
            raise WrongUsage(f"{given[0]} is for files of many rows (.jsonl, .ndjson, .csv).")
        _register_one(connection, file, name, shared, key_check, idempotency_key)
        return
    if idempotency_key is not None:
        raise WrongUsage("--idempotency-key is for one instance; many rows want --job.")
    bounds = Bounds(concurrency, max_failures, max_outage, connection.deadline, dry_run)
    request = JobRequest(on_disk(file), name, kind, shared, job, out, key_check, bounds)
    register_rows(connection, request)


def _max_outage(connection: Connection, max_outage: float | None, patience: float | None) -> float:
    if patience is None:
        return DEFAULT_MAX_OUTAGE if max_outage is None else max_outage
    if max_outage is not None:
        raise WrongUsage("--patience is the old name of --max-outage: give --max-outage alone.")
    connection.output.warn("--patience is deprecated, use --max-outage")
    return patience


def _kind_of(name: str) -> str | None:
    return _FORMATS.get(name.lower().removesuffix(".gz").rpartition(".")[2])


def _read_part(
    connection: Connection, file: BinaryIO, field: str, key_check: KeyCheck
) -> dict[str, Any]:
    part, warnings = read_part(file, field, key_check)
    connection.output.warn(*warnings)
    return part


def _register_one(
    connection: Connection,
    file: BinaryIO,
    name: str,
    shared: dict[str, Any],
    key_check: KeyCheck,
    idempotency_key: str | None,
) -> None:
    plain = unpacked(on_disk(file))
    fields, warnings = read_register_file(plain, name, shared, key_check)
    connection.output.warn(*warnings)
    from_file = fields.pop("idempotency_key", None)
    key = idempotency_key or from_file or new_key()
    try:
        check_key(key)
    except ValueError as exc:
        raise WrongUsage(f"{exc}.") from None
    call_and_show(
        connection,
        lambda client: client.agent_instances.register(**fields, idempotency_key=key),
        f"To make sure that it is registered once, repeat the command with --idempotency-key {key}",
        key,
    )
