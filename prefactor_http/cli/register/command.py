"""``prefactor-http register``: one instance, or one for each row of a file."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from prefactor_http.cli.connection import Connection, api_options
from prefactor_http.cli.errors import InputError
from prefactor_http.cli.instances import call_and_show
from prefactor_http.cli.parameter_types import TEXT, Seconds
from prefactor_http.cli.register.job_request import JobOptions, JobRequest
from prefactor_http.cli.register.json_file import file_name, read_instance, read_part
from prefactor_http.cli.register.row_reader import decompressed, on_disk
from prefactor_http.cli.register.run_job import run_job
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
    help="Format of FILE. By default, its extension decides.",
)
@click.option(
    "--agent-version",
    type=click.File("rb"),
    metavar="FILE",
    help="JSON file with the agent_version of rows without one.",
)
@click.option(
    "--schema",
    type=click.File("rb"),
    metavar="FILE",
    help="JSON file with the agent_schema_version of rows without one.",
)
@click.option(
    "--agent-id",
    type=TEXT,
    metavar="ID",
    envvar="PREFACTOR_AGENT_ID",
    show_envvar=True,
    help="Agent of rows without one.",
)
@click.option(
    "--environment-id",
    type=TEXT,
    metavar="ID",
    envvar="PREFACTOR_ENVIRONMENT_ID",
    show_envvar=True,
    help="Environment of rows without one.",
)
@click.option(
    "--job",
    type=TEXT,
    metavar="NAME",
    help="Name of the job. Running it again registers no row twice.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="RESULTS.jsonl",
    help="File for the results, one line per row. With --job, the next run resumes from it.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Maximum number of requests in flight.",
)
@click.option(
    "--max-failures", type=click.IntRange(min=1), metavar="N", help="Stop after N failed rows."
)
@click.option(
    "--max-outage",
    type=Seconds(),
    metavar="SECONDS",
    help=f"How long to wait for an API that is down.  [default: {DEFAULT_MAX_OUTAGE:g}]",
)
@click.option("--patience", type=Seconds(), hidden=True)
@click.option("--dry-run", is_flag=True, help="Check the rows and send nothing.")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Send unknown keys in agent_version and agent_schema_version, even misspelled ones.",
)
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="For one instance: repeating the command with the same key registers it once.",
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
    """Register the agent instances in FILE.

    FILE may be gzipped; `-` reads standard input. A .json file holds one object with agent_version
    and agent_schema_version. If the token belongs to an account, agent_id and environment_id are
    required, too. Optional fields are id, external_identifier, purpose, update_current_version and
    idempotency_key.

    A .jsonl, .ndjson or .csv file holds any number of rows with the same fields. The options
    provide what a row lacks. In a CSV file, the columns agent_version and agent_schema_version
    hold JSON. Standard input is read to its end first. It holds JSON Lines if --job, --out,
    --max-failures or --dry-run is given, and one object otherwise.

    To resume a run that was stopped, killed or gave up, run the same command again, with --job and
    --out. Without --job, a second run registers all rows again. Refused rows are not sent again
    unless they have changed; to send them again unchanged, remove their lines from the results.
    Only one run at a time can use a results file.

    A row that repeats the id, external_identifier or idempotency_key of an earlier row is a
    duplicate: it is reported and not sent.

    On Ctrl-C, SIGTERM or SIGHUP, the command waits up to 5 seconds for responses. Press Ctrl-C
    again to stop immediately. `prefactor-http --help` lists the exit codes.
    """
    max_outage = _max_outage(connection, max_outage, patience)
    name = file_name(file)
    for option, text in (("--job", job), ("--out", out)):
        if text is not None and not text.strip():
            raise InputError(f"{option} must not be blank.", "Give it a name; nothing was sent.")
    key_check = KeyCheck(allow_unknown=allow_unknown)
    ids = {"agent_id": agent_id, "environment_id": environment_id}
    shared: dict[str, Any] = {
        field: value for field, value in ids.items() if value is not None and value.strip()
    }
    for field, part in (("agent_version", agent_version), ("agent_schema_version", schema)):
        if part is not None:
            shared[field] = _read_part(connection, part, field, key_check)
    many_row_options = {
        "--job": job is not None,
        "--out": out is not None,
        "--max-failures": max_failures is not None,
        "--dry-run": dry_run,
    }
    given = [option for option, is_given in many_row_options.items() if is_given]
    if kind is None:
        kind = _format_of(name) or ("jsonl" if given else "json")
    if kind == "json":
        if given:
            raise InputError(
                f"{given[0]} is for files with many rows (.jsonl, .ndjson, .csv).",
                "If FILE has many rows, add --format jsonl or --format csv; nothing was sent.",
            )
        _register_one(connection, file, name, shared, key_check, idempotency_key)
        return
    if idempotency_key is not None:
        raise InputError(
            "--idempotency-key is for a single instance.",
            "For a file with many rows, use --job; nothing was sent.",
        )
    options = JobOptions(concurrency, max_failures, max_outage, connection.deadline, dry_run)
    request = JobRequest(on_disk(file), name, kind, shared, job, out, key_check, options)
    run_job(connection, request)


def _max_outage(connection: Connection, max_outage: float | None, patience: float | None) -> float:
    if patience is None:
        return DEFAULT_MAX_OUTAGE if max_outage is None else max_outage
    if max_outage is not None:
        raise InputError(
            "--patience is the old name of --max-outage.",
            "Use --max-outage alone; nothing was sent.",
        )
    connection.output.warn("--patience is deprecated, use --max-outage")
    return patience


def _format_of(name: str) -> str | None:
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
    plain = decompressed(on_disk(file))
    fields, warnings = read_instance(plain, name, shared, key_check)
    connection.output.warn(*warnings)
    from_file = fields.pop("idempotency_key", None)
    key = idempotency_key or from_file or new_key()
    try:
        check_key(key)
    except ValueError as exc:
        raise InputError(f"{exc}.", "Nothing was sent.") from None
    call_and_show(
        connection,
        lambda client: client.agent_instances.register(**fields, idempotency_key=key),
        f"To register it once and only once, run the command again with --idempotency-key {key}",
        key,
    )
