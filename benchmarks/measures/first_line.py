"""A register in processes as they come, and in one that settles its allocator with a line.

Whether glibc maps asyncio's read buffer anew for each read is left to chance here, as it is in an
application. So there are many launches of few rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks.environments import NAMES, SETTLED, Contender
from benchmarks.measures.calls import LIMITS
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "The first line of a program"


class Scale(Struct):
    """How much to measure."""

    launches: int
    rounds: int
    count: int


SCALES = {
    "tiny": Scale(launches=1, rounds=2, count=8),
    "quick": Scale(launches=2, rounds=3, count=256),
    "full": Scale(launches=12, rounds=4, count=256),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Measure all but the slow and the bare, and ours once more after the line."""
    wanted = [each for each in contenders if each.key in {"ours", *LIMITS}]
    values: dict[str, list[float]] = {}
    for _ in range(scale.launches):
        with (
            serving() as server,
            workers([*wanted, SETTLED], server, allocator="as it comes") as running,
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
    """Show ours as it comes and after the line, as shares of the others."""
    lines = [
        (
            NAMES[row["contender"]],
            show(row["cpu_us"], 1),
            show(row["ours_to_this"]),
            show(row["settled_to_this"]),
        )
        for row in rows
    ]
    columns = ("", "CPU, µs", "ours / this", "ours after the line / this")
    note = "The line is `bytes(4 << 20)`; it has an effect on glibc only."
    return [Table("A register, 16 at a time, processes as they come", columns, lines, note=note)]


def findings(rows: Rows) -> list[Finding]:
    """Hold ours after the line against the targets of a register."""
    return [
        Finding(
            f"register, CPU, after `bytes(4 << 20)`, to {NAMES[row['contender']]} as it comes",
            row["settled_to_this"],
            LIMITS[row["contender"]],
        )
        for row in rows
        if row["contender"] in LIMITS
    ]
