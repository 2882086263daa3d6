"""How long a call takes its caller, over loopback, at a load that is offered whatever happens."""

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
    """How much to measure: `rate` calls a second are started, `count` in a slice."""

    rate: int
    count: int
    rounds: int


SCALES = {
    "tiny": Scale(rate=200, count=20, rounds=2),
    "quick": Scale(rate=300, count=150, rounds=3),
    "full": Scale(rate=300, count=600, rounds=9),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Offer each contender the same load in turns; percentiles are of a slice, then medians."""
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
    done = worker.order(measure="latency", call="register", rate=scale.rate, count=scale.count)
    percent = statistics.quantiles(done["seconds"], n=100, method="inclusive")
    return {
        "p50_ms": 1e3 * percent[49],
        "p99_ms": 1e3 * percent[98],
        "started_late_ms": 1e3 * statistics.median(done["late"]),
    }


def tables(rows: Rows) -> list[Table]:
    """Show the percentiles."""
    lines = [(NAMES[row["contender"]], show(row["p50_ms"]), show(row["p99_ms"])) for row in rows]
    title = f"Latency of a register, {rows[0]['rate']} started a second"
    return [Table(title, ("", "p50, ms", "p99, ms"), lines)]


def findings(_rows: Rows) -> list[Finding]:
    """Nothing was set a target."""
    return []
