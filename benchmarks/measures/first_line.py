"""CPU time of a register with the default allocator, and in a process that settles it first.

Whether glibc maps the read buffer of asyncio for each read is left to chance here, as in an
application. Therefore this measure uses many launches with few rounds each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks.environments import NAMES, SETTLED, Contender
from benchmarks.measures.calls import COMPARED
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "The first line of a program"


class Scale(Struct):
    """Settings."""

    launches: int
    rounds: int
    count: int


SCALES = {
    "tiny": Scale(launches=1, rounds=2, count=8),
    "quick": Scale(launches=2, rounds=3, count=256),
    "full": Scale(launches=12, rounds=4, count=256),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Measure the contenders that have a target, and ours with and without the line."""
    wanted = [each for each in contenders if each.key in {"ours", *COMPARED}]
    values: dict[str, list[float]] = {}
    for _ in range(scale.launches):
        with (
            serving() as server,
            workers([*wanted, SETTLED], server, allocator="default") as running,
        ):
            slices = {
                worker.contender.key: partial(worker.cost, scale.count, concurrency=16)
                for worker in running
            }
            for key, measured in interleave(slices, scale.rounds).items():
                values.setdefault(key, []).extend(measured)
    return [
        {
            "contender": key,
            "cpu_us": Spread.of(measured),
            "ours_to_this": ratio(values["ours"], measured),
            "settled_to_this": ratio(values[SETTLED.key], measured),
        }
        for key, measured in values.items()
    ]


def tables(rows: Rows) -> list[Table]:
    lines = [
        (
            NAMES[row["contender"]],
            show(row["cpu_us"], 1),
            show(row["ours_to_this"]),
            show(row["settled_to_this"]),
        )
        for row in rows
    ]
    columns = ("", "CPU, µs", "ours / contender", "ours, settled / contender")
    note = "Settled means that the program begins with `bytes(4 << 20)`, which only affects glibc."
    return [
        Table("CPU time of a register, 16 concurrent, default allocator", columns, lines, note=note)
    ]


def findings(rows: Rows) -> list[Finding]:
    """Compare ours, settled, with the others."""
    return [
        Finding(
            f"register, CPU time after `bytes(4 << 20)` relative to {NAMES[row['contender']]}",
            row["settled_to_this"],
        )
        for row in rows
        if row["contender"] in COMPARED
    ]
