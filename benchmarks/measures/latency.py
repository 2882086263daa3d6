"""Latency of a call over loopback at a fixed rate of calls (open loop)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import Worker, serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave
from benchmarks.tables import Finding, Table, show

TITLE = "Latency"


class Scale(Struct):
    """Settings: `rate` calls per second are started, `count` per slice."""

    rate: int
    count: int
    rounds: int


SCALES = {
    "tiny": Scale(rate=200, count=20, rounds=2),
    "quick": Scale(rate=300, count=150, rounds=3),
    "full": Scale(rate=300, count=600, rounds=9),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Interleave contenders under the same load; report the median of each slice's percentiles."""
    with serving() as server, workers(contenders, server) as running:
        slices = {each.contender.key: partial(_slice, each, scale) for each in running}
        found = interleave(slices, scale.rounds)
    return [
        {
            "contender": key,
            "rate": scale.rate,
            **{name: Spread.of([each[name] for each in measured]) for name in measured[0]},
        }
        for key, measured in found.items()
    ]


def _slice(worker: Worker, scale: Scale) -> dict[str, float]:
    done = worker.run("latency", call="register", rate=scale.rate, count=scale.count)
    percent = statistics.quantiles(done["seconds"], n=100, method="inclusive")
    return {
        "p50_ms": 1e3 * percent[49],
        "p99_ms": 1e3 * percent[98],
        "started_late_ms": 1e3 * statistics.median(done["late"]),
    }


def tables(rows: Rows) -> list[Table]:
    lines = [(NAMES[row["contender"]], show(row["p50_ms"]), show(row["p99_ms"])) for row in rows]
    title = f"Latency of a register, {rows[0]['rate']} started per second"
    return [Table(title, ("", "p50, ms", "p99, ms"), lines)]


def findings(_rows: Rows) -> list[Finding]:
    """Return nothing: the tables say it all."""
    return []
