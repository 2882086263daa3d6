"""The cost of glibc mapping the 256 KiB read buffer of asyncio, measured with the floor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from msgspec import Struct

from benchmarks.environments import Contender
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "The allocator"


class Scale(Struct):
    """Settings."""

    loops: list[str]
    tls: list[bool]
    count: int
    rounds: int


SCALES = {
    "tiny": Scale(["asyncio"], tls=[False], count=8, rounds=2),
    "quick": Scale(["asyncio", "uvloop"], tls=[False, True], count=200, rounds=6),
    "full": Scale(["asyncio", "uvloop"], tls=[False, True], count=400, rounds=40),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Interleave processes in both states of the allocator."""
    floor = [each for each in contenders if each.key == "floor"]
    with ExitStack() as stack:
        slices = {}
        for tls in scale.tls:
            server = stack.enter_context(serving(tls=tls))
            for loop in scale.loops:
                for state in ("mapping", "settled"):
                    (worker,) = stack.enter_context(workers(floor, server, loop, state))
                    slices[loop, tls, state] = partial(worker.cost, scale.count, concurrency=16)
        found = interleave(slices, scale.rounds)
    return [
        {
            "loop": loop,
            "tls": tls,
            "mapping_us": Spread.of(mapping),
            "settled_us": Spread.of(found[loop, tls, "settled"]),
            "mapping_to_settled": ratio(mapping, found[loop, tls, "settled"]),
        }
        for (loop, tls, state), mapping in found.items()
        if state == "mapping"
    ]


def tables(rows: Rows) -> list[Table]:
    lines = [
        (
            f"{row['loop']}, {'TLS' if row['tls'] else 'plain HTTP'}",
            show(row["settled_us"], 1),
            show(row["mapping_us"], 1),
            show(row["mapping_to_settled"]),
        )
        for row in rows
    ]
    columns = ("", "settled, µs", "mapping, µs", "mapping / settled")
    return [
        Table(
            "CPU time per call of aiohttp with constant bytes, by state of the allocator",
            columns,
            lines,
        )
    ]


def findings(_rows: Rows) -> list[Finding]:
    """Return nothing: the tables say it all."""
    return []
