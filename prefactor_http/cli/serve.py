"""``prefactor-http serve``: a local Prefactor API for trying things out."""

from __future__ import annotations

import asyncio

import click

from prefactor_http.cli.errors import WrongUsage
from prefactor_http.cli.signals import on_signals
from prefactor_http.testing import LocalPrefactor


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.")
@click.option(
    "--faults",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="RATE",
    help="Share of attempts to make faulty, from 0 to 1.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the faults.")
def serve(port: int, faults: float, seed: int) -> None:
    """Serve a Prefactor API on this machine, in memory, until Ctrl-C.

    Prints what to copy into another shell. Ctrl-C is the way to end it: the exit code is 0.
    """
    api = LocalPrefactor(port=port, faults=faults, seed=seed, record=False)
    try:
        asyncio.run(_serve(api, faults, seed))
    except OSError as exc:
        raise WrongUsage(f"cannot listen on port {port}: {exc.strerror or exc}") from None
    click.echo(_summary(api))


async def _serve(api: LocalPrefactor, faults: float, seed: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with on_signals(lambda _: loop.call_soon_threadsafe(stopped.set)):
        async with api:
            click.echo(_greeting(api, faults, seed))
            await stopped.wait()


def _greeting(api: LocalPrefactor, faults: float, seed: int) -> str:
    trouble = f"{faults:.0%} of attempts faulty, seed {seed}" if faults else "no faults"
    return "\n".join(
        (
            f"# A Prefactor API in memory ({trouble}).",
            "# Ctrl-C ends it. Paste into another shell:",
            f"export PREFACTOR_API_URL={api.url}",
            f"export PREFACTOR_API_TOKEN={api.token}",
            f"export PREFACTOR_AGENT_ID={api.agent_id}",
            f"export PREFACTOR_ENVIRONMENT_ID={api.environment_id}",
        )
    )


def _summary(api: LocalPrefactor) -> str:
    attempts, faulty = api.stats()["attempts"], sum(api.faults_injected.values())
    return (
        f"\n{attempts} attempts ({faulty} made faulty), {len(api.effects)} writes took effect, "
        f"{api.replies_lost} replies lost, {api.replays} replayed, "
        f"{len(api.doubled)} doubled, {len(api.lost)} lost."
    )
