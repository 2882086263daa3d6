"""Resident memory of a call in flight."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread
from benchmarks.tables import Finding, Table, show

TITLE = "Memory"
PARTICIPANTS = ("reference", "ours", "hand")


class Scale(Struct):
    """Settings: memory is read when `count` calls have been in flight for `seconds`."""

    count: int
    seconds: float
    launches: int


SCALES = {
    "tiny": Scale(count=150, seconds=0.3, launches=1),
    "quick": Scale(count=1000, seconds=1.2, launches=1),
    "full": Scale(count=2000, seconds=2.5, launches=5),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Compare resident memory before and during the calls, in a new process each time.

    Measured with one connection per call, and with the default of 100 connections.
    """
    participants = [each for each in contenders if each.key in PARTICIPANTS]
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(scale.launches):
        for connections in (scale.count, 100):
            for each in participants:
                grown = _memory(each, scale, connections)
                found.setdefault((each.key, connections), []).append(grown)
    return [
        {
            "contender": key,
            "calls": scale.count,
            "connections": connections,
            "kb_per_call": Spread.of(values),
        }
        for (key, connections), values in found.items()
    ]


def _memory(contender: Contender, scale: Scale, connections: int) -> float:
    with (
        serving(delay=600) as server,
        workers([contender], server, max_connections=connections) as (worker,),
    ):
        done = worker.run("memory", count=scale.count, seconds=scale.seconds)
    if done["unfinished"] != scale.count:
        raise RuntimeError(f"{contender.name}: only {done['unfinished']} calls are in flight")
    return float(done["grown"]) / scale.count / 1000


def tables(rows: Rows) -> list[Table]:
    by_case = {(row["contender"], row["connections"]): row["kb_per_call"] for row in rows}
    calls = rows[0]["calls"]
    lines = [
        (NAMES[key], show(by_case[key, calls], 1), show(by_case[key, 100], 1))
        for key in dict.fromkeys(row["contender"] for row in rows)
    ]
    columns = ("", f"{calls:,} connections, kB per call", "100 connections, kB per call")
    return [Table(f"Resident memory per call, {calls:,} in flight", columns, lines)]


def findings(_rows: Rows) -> list[Finding]:
    """Return nothing: the tables say it all."""
    return []
