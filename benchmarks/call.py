"""`python -m benchmarks call CALL`: prints the CPU time of one call for each contender."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from benchmarks import environments
from benchmarks.environments import Contender
from benchmarks.processes import ALLOCATORS, Worker, serving, workers
from benchmarks.rounds import Spread, interleave, ratio

CALLS = ("register", "start", "finish", "span", "span_finish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call", choices=CALLS)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--launches", type=int, default=2, help="how often to start new processes")
    parser.add_argument("--rounds", type=int, default=8, help="rounds per launch")
    parser.add_argument("--count", type=int, default=600, help="calls per slice")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--allocator", choices=ALLOCATORS, action="append")
    parser.add_argument("--only", help="comma-separated: reference,ours,hand,floor,httpx,bare")


def run(args: argparse.Namespace) -> None:
    wanted = args.only.split(",") if args.only else None
    contenders = [
        each for each in environments.all_contenders() if not wanted or each.key in wanted
    ]
    for allocator in args.allocator or ("mapping", "settled"):
        _compare(args, allocator, contenders)


def _compare(args: argparse.Namespace, allocator: str, contenders: Sequence[Contender]) -> None:
    """Print the CPU time per call of each contender, and the ratio of ours to it."""
    values: dict[str, list[float]] = {}
    cpu = requests = 0.0
    for _ in range(args.launches):
        with (
            serving() as server,
            workers(contenders, server, args.loop, allocator) as running,
        ):
            slices = {each.contender.key: partial(_cost, args, each) for each in running}
            measured = interleave(slices, args.rounds)
            stats = server.stats()
        cpu, requests = cpu + stats["cpu"], requests + stats["requests"]
        for key, each in measured.items():
            values.setdefault(key, []).extend(each)
    print(
        f"\n{args.call}, {args.concurrency} concurrent, {args.loop}, allocator {allocator};"
        f" the server uses {1e6 * cpu / requests:.1f} µs per request\n"
        f"{'':26}{'CPU per call, µs':>24}{'ours / contender':>26}"
    )
    for contender in contenders:
        mine = values[contender.key]
        line = f"{contender.name:26}{_text(Spread.of(mine), 1)}"
        if environments.OURS.key in values:
            line += _text(ratio(values[environments.OURS.key], mine), 3)
        print(line)


def _cost(args: argparse.Namespace, worker: Worker) -> float:
    return worker.cost(args.count, args.call, concurrency=args.concurrency)


def _text(spread: Spread, digits: int) -> str:
    quartiles = f"[{spread.low:.{digits}f} {spread.high:.{digits}f}]"
    return f"{spread.median:9.{digits}f} {quartiles:16}"
