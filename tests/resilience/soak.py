"""Soak test: runs lifecycles under faults and checks the outcomes that callers got.

``python tests/resilience/soak.py --lifecycles 20000 --loop uvloop --session borrowed``

``--report`` writes violations as JSON lines, each with the history of client and server.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from fault_server.process import FaultServer
from truth_lifecycles import Attempts, Lifecycles, open_client
from truth_oracle import Oracle
from truth_requests import execute
from truth_streams import GroupedItems, register_twice, stream

# Faults that correctly end a whole stream.
NOT_IN_STREAMS = ["unauthorised_401", "status_429_retry_after_a_day"]
ITEMS_A_LIFECYCLE = 5


async def run_lifecycles(
    server: FaultServer,
    oracle: Oracle,
    *,
    lifecycles: int,
    seed: int,
    borrowed: bool,
    at_a_time: int = 100,
    wave: int = 500,
    progress: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> dict[str, int]:
    """Run lifecycles with direct calls, in waves, and compare with the ledger after each."""
    attempts = Attempts()
    async with open_client(
        server.url, server.token, borrowed=borrowed, on_attempt=attempts, **settings
    ) as client:
        runs = Lifecycles(client, oracle, attempts, seed=seed, anonymous=not borrowed)
        for first in range(0, lifecycles, wave):
            last = min(first + wave, lifecycles)
            await runs.run(range(first, last), at_a_time)
            oracle.compare()
            progress(f"{last} lifecycles, {runs.completed} completed")
    return {"lifecycles": lifecycles, "completed": runs.completed, "repeated": runs.repeated}


async def run_streams(
    server: FaultServer,
    oracle: Oracle,
    *,
    items: int,
    seed: int,
    borrowed: bool,
    poison: float = 0.005,
    request_timeout: float = 0.5,
    wave: int = 5000,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> dict[str, int]:
    """Send lifecycles as grouped items, one stream per wave, and compare after each."""
    states: Counter[str] = Counter()
    options = {"chunk_size": 25, "max_outage": 20.0, **options}
    async with open_client(
        server.url, server.token, borrowed=borrowed, request_timeout=request_timeout
    ) as client:
        for first in range(0, items, wave):
            last = min(first + wave, items)
            numbers = range(first // ITEMS_A_LIFECYCLE, last // ITEMS_A_LIFECYCLE)
            source = GroupedItems(oracle, seed, numbers, poison)
            states += await stream(client, oracle, source, **options)
            oracle.compare()
            progress(f"{last} items: {dict(states)}")
    return dict(states)


async def run_requests(
    server: FaultServer,
    oracle: Oracle,
    *,
    lifecycles: int,
    seed: int,
    borrowed: bool,
    at_a_time: int = 20,
    wave: int = 500,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Run lifecycles with `bulk.execute`, two per request, and compare after each wave."""
    reported: Counter[str] = Counter()
    async with open_client(server.url, server.token, borrowed=borrowed) as client:
        for first in range(0, lifecycles, wave):
            last = min(first + wave, lifecycles)
            pairs = (range(n, min(n + 2, last)) for n in range(first, last, 2))
            sources = [GroupedItems(oracle, seed, pair, poison=0) for pair in pairs]
            reported += await execute(client, oracle, sources, at_a_time)
            oracle.compare()
            progress(f"{last} lifecycles with bulk.execute: {dict(reported)}")
    return dict(reported)


async def run_rows(
    server: FaultServer, oracle: Oracle, *, rows: int, seed: int, borrowed: bool
) -> dict[str, int]:
    """Register rows with a job that runs twice and stops early the first time."""
    async with open_client(server.url, server.token, borrowed=borrowed) as client:
        states = await register_twice(client, oracle, seed, rows, chunk_size=25, max_outage=20.0)
        oracle.compare()
    return dict(states)


def run_on(loop: str, main: Any) -> Any:
    """Run a coroutine on an event loop of asyncio or uvloop."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _resources() -> str:
    """Describe the resources of the process, which must not grow in a long run."""
    process = psutil.Process()
    tasks = len(asyncio.all_tasks())
    megabytes = process.memory_info().rss / 1e6
    return f"{tasks} tasks, {process.num_fds()} files, {megabytes:.0f} MB"


def _soak(arguments: argparse.Namespace, session: str, loop: str) -> int:
    started = time.monotonic()
    borrowed = session == "borrowed"
    with (
        tempfile.TemporaryDirectory() as folder,
        FaultServer(Path(folder) / "ledger.sqlite") as server,
    ):
        oracle = Oracle(server)

        def progress(text: str) -> None:
            seconds, violations = time.monotonic() - started, json.dumps(oracle.violations)
            print(
                f"  {seconds:6.1f} s  {text}; {_resources()}; violations {violations}", flush=True
            )

        faults = {
            "seed": arguments.seed,
            "faults": arguments.faults,
            "at_accept": arguments.faults / 3,
            "restart_every": 5000,
            "restart_seconds": 0.1,
            "deduplicate": not arguments.no_deduplication,
            "kinds": arguments.kinds.split(",") if arguments.kinds else None,
        }
        without = arguments.without.split(",") if arguments.without else []
        results: dict[str, Any] = {}
        if arguments.lifecycles:
            server.configure(**faults, forget=arguments.forget, without=without)
            results["direct"] = run_on(
                loop,
                run_lifecycles(
                    server,
                    oracle,
                    lifecycles=arguments.lifecycles,
                    seed=arguments.seed,
                    borrowed=borrowed,
                    at_a_time=arguments.at_a_time,
                    progress=progress,
                ),
            )
        without = [*without, *NOT_IN_STREAMS]
        if arguments.requests:
            server.configure(**faults, forget=arguments.forget, without=without)
            results["requests"] = run_on(
                loop,
                run_requests(
                    server,
                    oracle,
                    lifecycles=arguments.requests,
                    seed=arguments.seed + 1,
                    borrowed=borrowed,
                    progress=progress,
                ),
            )
        if arguments.items:
            server.configure(**faults, forget=arguments.forget, without=without)
            results["streamed"] = run_on(
                loop,
                run_streams(
                    server,
                    oracle,
                    items=arguments.items,
                    seed=arguments.seed + 2,
                    borrowed=borrowed,
                    progress=progress,
                ),
            )
        if arguments.rows:
            server.configure(**faults, without=without)
            results["rows"] = run_on(
                loop,
                run_rows(
                    server, oracle, rows=arguments.rows, seed=arguments.seed, borrowed=borrowed
                ),
            )
        injected = server.injected()
        print(f"{session} session, {loop}, seed {arguments.seed}:")
        print(f"  {json.dumps(results)}")
        print(f"  reported: {json.dumps(dict(sorted(oracle.reported.items())))}")
        print(f"  server: {json.dumps(dict(server.counts()))}")
        print(f"  {injected.total()} faults of {len(injected)} kinds")
        if arguments.verbose:
            print(f"  {json.dumps(dict(sorted(injected.items())))}")
        print(f"  violations: {json.dumps(dict(oracle.violations)) or 'none'}", flush=True)
        if arguments.report:
            with Path(arguments.report).open("a", encoding="utf-8") as lines:
                lines.writelines(f"{line}\n" for line in oracle.dump())
        return oracle.violations.total()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--lifecycles", type=int, default=20_000, help="lifecycles with direct calls"
    )
    parser.add_argument("--requests", type=int, default=2_000, help="lifecycles with bulk.execute")
    parser.add_argument(
        "--items", type=int, default=20_000, help="grouped items through bulk.stream"
    )
    parser.add_argument("--rows", type=int, default=5_000, help="rows through register_many")
    parser.add_argument("--session", choices=("own", "borrowed", "both"), default="both")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=float, default=0.3, help="probability per request")
    parser.add_argument("--forget", type=float, default=0.1, help="probability per key")
    parser.add_argument("--at-a-time", type=int, default=100)
    parser.add_argument("--kinds", help="only these faults, separated by commas")
    parser.add_argument("--without", help="all but these faults")
    parser.add_argument("--no-deduplication", action="store_true", help="must lead to violations")
    parser.add_argument("--report", help="file for violations")
    parser.add_argument(
        "--verbose", action="store_true", help="print how often each fault was injected"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    sessions = ("own", "borrowed") if arguments.session == "both" else (arguments.session,)
    loops = ("asyncio", "uvloop") if arguments.loop == "both" else (arguments.loop,)
    violations = sum(_soak(arguments, session, loop) for session in sessions for loop in loops)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
