"""CPU time of one call, by call, concurrency and contender."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import Worker, serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "CPU time per call"
CALLS = ("register", "start", "finish", "span")
# Contenders in the summary.
COMPARED = ("reference", "hand", "floor")


class Scale(Struct):
    """Settings. A case is (call, concurrency, state of the allocator)."""

    cases: list[tuple[str, int, str]]
    launches: int
    rounds: int
    count: int


SCALES = {
    "tiny": Scale([("register", 4, "settled")], launches=1, rounds=2, count=8),
    "quick": Scale(
        [
            *(("register", concurrency, "settled") for concurrency in (1, 16, 256)),
            *((call, 16, "settled") for call in CALLS[1:]),
            ("register", 16, "mapping"),
        ],
        launches=1,
        rounds=5,
        count=256,
    ),
    "full": Scale(
        [
            (call, concurrency, allocator)
            for allocator in ("settled", "mapping")
            for call in CALLS
            for concurrency in (1, 16, 256)
        ],
        launches=3,
        rounds=6,
        count=256,
    ),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Interleave the contenders, so that each ratio compares slices that ran back to back."""
    values: dict[tuple[str, int, str, str], list[float]] = {}
    for _ in range(scale.launches):
        for allocator in dict.fromkeys(case[2] for case in scale.cases):
            cases = [case for case in scale.cases if case[2] == allocator]
            with serving() as server, workers(contenders, server, allocator=allocator) as running:
                for call in dict.fromkeys(case[0] for case in cases):
                    slices = {
                        (*case, worker.contender.key): partial(_cost, worker, *case[:2], scale)
                        for case in cases
                        if case[0] == call
                        for worker in running
                    }
                    for key, measured in interleave(slices, scale.rounds).items():
                        values.setdefault(key, []).extend(measured)
    return [_row(values, key) for key in values]


def _cost(worker: Worker, call: str, concurrency: int, scale: Scale) -> float:
    # httpx takes ten times as long as the others, so it makes fewer calls.
    slow = worker.contender.key == "httpx"
    count = max(scale.count // 4, concurrency) if slow else max(scale.count, 4 * concurrency)
    return worker.cost(count, call, concurrency=concurrency)


def _row(values: dict[Any, list[float]], key: tuple[str, int, str, str]) -> dict[str, Any]:
    call, concurrency, allocator, contender = key
    ours = values[call, concurrency, allocator, "ours"]
    row = {
        "call": call,
        "concurrency": concurrency,
        "allocator": allocator,
        "contender": contender,
        "cpu_us": Spread.of(values[key]),
        "ours_to_this": ratio(ours, values[key]),
    }
    few = values.get((call, 16, allocator, contender))
    if concurrency == 256 and few:
        row["growth_from_16"] = ratio(values[key], few)
    return row


def tables(rows: Rows) -> list[Table]:
    concurrency = 16 if any(row["concurrency"] == 16 for row in rows) else rows[0]["concurrency"]
    found = []
    for allocator in ("settled", "mapping"):
        case = {"concurrency": concurrency, "allocator": allocator}
        mine = [row for row in rows if case.items() <= row.items()]
        if mine:
            where = f"{concurrency} concurrent, allocator {allocator}"
            found += [_costs(mine, where), _ratios(mine, where)]
    return [*found, _growth(rows)]


def _costs(rows: Rows, where: str) -> Table:
    columns = ("µs", *(NAMES[key] for key in _column(rows, "contender")))
    lines = [
        (call, *(show(row["cpu_us"]["median"], 1) for row in rows if row["call"] == call))
        for call in _column(rows, "call")
    ]
    return Table(f"CPU time per call, {where}", columns, lines)


def _ratios(rows: Rows, where: str) -> Table:
    others = [row for row in rows if row["contender"] != "ours"]
    columns = ("ours / contender", *(NAMES[key] for key in _column(others, "contender")))
    lines = [
        (call, *(show(row["ours_to_this"]) for row in others if row["call"] == call))
        for call in _column(rows, "call")
    ]
    return Table(f"Ours relative to the other contenders, {where}", columns, lines)


def _column(rows: Rows, name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _growth(rows: Rows) -> Table:
    at = {
        (row["contender"], row["call"], row["concurrency"], row["allocator"]): row for row in rows
    }
    lines = []
    for (contender, call, _, allocator), row in at.items():
        if "growth_from_16" not in row or allocator != "settled":
            continue
        figures = [at.get((contender, call, each, allocator)) for each in (1, 16)]
        cells = [show(each["cpu_us"], 1) if each else "" for each in (*figures, row)]
        lines.append((call, NAMES[contender], *cells, show(row["growth_from_16"])))
    columns = ("call", "contender", "1", "16", "256 concurrent, µs", "256 / 16")
    return Table("CPU time per call by concurrency", columns, lines, left=2)


def findings(rows: Rows) -> list[Finding]:
    """Return the ratios of a register, and its growth with concurrency."""
    found = []
    for row in rows:
        case = (row["call"], row["concurrency"], row["allocator"])
        if case == ("register", 16, "settled") and row["contender"] in COMPARED:
            name = f"register, CPU time relative to {NAMES[row['contender']]}"
            found.append(Finding(name, row["ours_to_this"]))
        if row["contender"] == "ours" and row["call"] == "register" and "growth_from_16" in row:
            name = f"register, CPU time at 256 concurrent relative to 16 ({row['allocator']})"
            found.append(Finding(name, row["growth_from_16"]))
    return found
