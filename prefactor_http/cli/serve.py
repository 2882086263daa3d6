"""``prefactor-http serve``: a local Prefactor API to experiment with."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime

import click

from prefactor_http.cli.errors import InputError
from prefactor_http.cli.output import Output
from prefactor_http.cli.signals import on_signals
from prefactor_http.testing import FaultKind, LocalPrefactor, RecordedRequest

# The connection is closed before the response is sent.
_WITHOUT_STATUS = frozenset(
    {
        FaultKind.APPLIED_THEN_RESET,
        FaultKind.GARBAGE_STATUS_LINE,
    }
)


@click.command(short_help="Run a local Prefactor API.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--faults",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="RATE",
    help="Share of requests that fail on purpose, from 0 to 1.",
)
@click.option(
    "--seed", type=int, default=0, metavar="N", help="Seed of the ids and the random faults."
)
@click.option("--log", "has_log", is_flag=True, help="Print each request to standard error.")
@click.pass_obj
def serve(output: Output, port: int, faults: float, seed: int, has_log: bool) -> None:
    """Run a Prefactor API on this machine, in memory, until Ctrl-C.

    Prints the environment variables to paste into another shell. With the same --port and --seed,
    they are the same each time. All data is lost when it stops. Ctrl-C is the normal way to stop
    it: the exit code is 0.

    With --log, each request is a line: time, method, path, status, duration, idempotency key, and
    the fault that was injected, if any.
    """

    def log(request: RecordedRequest) -> None:
        output.say(_log_line(request))

    api = LocalPrefactor(
        port=port,
        faults=faults,
        seed=seed,
        record=False,
        on_request=log if has_log else None,
    )
    for token in (api.token, api.deployment_token):
        output.redact(token)
    try:
        asyncio.run(_serve(api, faults, seed))
    except OSError as exc:
        raise InputError(
            f"cannot listen on port {port}: {os.strerror(exc.errno) if exc.errno else exc}.",
            "Choose another port, or leave out --port to use a free one.",
        ) from None
    click.echo(_summary(api))


async def _serve(api: LocalPrefactor, faults: float, seed: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with on_signals(lambda _: loop.call_soon_threadsafe(stopped.set)):
        async with api:
            click.echo(_greeting(api, faults, seed))
            await stopped.wait()


def _log_line(request: RecordedRequest) -> str:
    status = None if request.fault in _WITHOUT_STATUS else request.status
    return "  ".join(
        (
            f"{datetime.now():%H:%M:%S.%f}"[:-3],  # noqa: DTZ005 # the user's own time
            f"{request.method:<4} {request.path}",
            "-" if status is None else str(status),
            f"{request.seconds * 1000:.1f} ms",
            request.idempotency_key or "-",
            *(() if request.fault is None else (f"({request.fault})",)),
        )
    )


def _greeting(api: LocalPrefactor, faults: float, seed: int) -> str:
    injected = f"{faults:.0%} of requests fail, seed {seed}" if faults else "no faults"
    return "\n".join(
        (
            f"# Local Prefactor API, in memory ({injected}).",
            "# Press Ctrl-C to stop it. Paste these lines into another shell:",
            f"export PREFACTOR_API_URL={api.url}",
            f"export PREFACTOR_API_TOKEN={api.token}",
            f"export PREFACTOR_AGENT_ID={api.agent_id}",
            f"export PREFACTOR_ENVIRONMENT_ID={api.environment_id}",
        )
    )


def _summary(api: LocalPrefactor) -> str:
    requests, faults = api.stats()["attempts"], sum(api.faults_injected.values())
    writes = f"{len(api.effects)} write{'' if len(api.effects) == 1 else 's'}"
    return (
        f"\n{requests} requests ({faults} failed on purpose), {writes} applied, "
        f"{api.replies_lost} responses lost, {api.replays} replayed, "
        f"{len(api.doubled)} doubled, {len(api.lost)} lost."
    )
