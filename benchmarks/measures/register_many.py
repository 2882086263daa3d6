"""`register_many`: rows a second, CPU per row and memory, as rows become many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import Worker, serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "register_many"
LIMIT = 0.13
_KEYS = {"random": None, "derived": "tickets-2026-11"}  # by whether a job is named


class Scale(Struct):
    """How much to measure: `cases` are rows, and how often they are registered in a slice."""

    cases: list[tuple[int, int]]
    reference_requests: int
    rounds: int


SCALES = {
    "tiny": Scale([(200, 1), (400, 1)], reference_requests=1, rounds=2),
    "quick": Scale([(10**3, 20), (10**4, 2), (10**5, 1)], reference_requests=20, rounds=3),
    "full": Scale(
        [(10**3, 100), (10**4, 10), (10**5, 1), (10**6, 1)], reference_requests=100, rounds=6
    ),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Register rows, beside the reference's `bulk.execute` of 100 items; the process is warm."""
    taking_part = [each for each in contenders if each.key in {"ours", "reference"}]
    rows: Rows = []
    for keys, job in _KEYS.items():
        with serving() as server, workers(taking_part, server) as running:
            slices = {}
            for worker in running:
                if worker.contender.key == "reference":
                    slices["reference"] = partial(_bulk, worker, scale.reference_requests)
                    slices["reference"]()
                    continue
                worker.order(measure="rows", count=1000, job=job)
                for number, times in scale.cases:
                    slices[str(number)] = partial(_rows, worker, number, times, job)
            found = interleave(slices, scale.rounds, warm=False)
        reference = found.pop("reference", None)
        if reference and keys == "random":
            rows.append({"contender": "reference", "keys": "by the caller", **_costs(reference)})
        least = found[str(scale.cases[0][0])]
        for count, values in found.items():
            row = {"contender": "ours", "keys": keys, "rows": int(count), **_costs(values)}
            row["growth"] = ratio(_column(values, 0), _column(least, 0))
            if reference:
                row["ours_to_reference"] = ratio(_column(values, 0), _column(reference, 0))
            rows.append(row | {"peak_mb": _peak(taking_part, int(count), job)})
    return rows


def _rows(worker: Worker, count: int, times: int, job: str | None) -> tuple[float, float]:
    done = worker.order(measure="rows", count=count, times=times, job=job)
    return done["cpu"] / (count * times), done["wall"] / (count * times)


def _bulk(worker: Worker, requests: int) -> tuple[float, float]:
    done = worker.order(measure="cost", call="bulk", number=100, kilobytes=0.5, count=requests)
    return done["cpu"] / (100 * requests), done["wall"] / (100 * requests)


def _costs(values: Sequence[tuple[float, float]]) -> dict[str, Spread]:
    return {
        "cpu_us": Spread.of([1e6 * each for each in _column(values, 0)]),
        "rows_per_second": Spread.of([1 / each for each in _column(values, 1)]),
        "rows_per_cpu_second": Spread.of([1 / each for each in _column(values, 0)]),
    }


def _column(values: Sequence[tuple[float, float]], number: int) -> list[float]:
    return [each[number] for each in values]


def _peak(contenders: Sequence[Contender], count: int, job: str | None) -> float:
    """Tell how far a process's peak memory rises above that of one that registered 1000 rows."""
    ours = [each for each in contenders if each.key == "ours"]
    with serving() as server, workers(ours, server) as (worker,):
        worker.order(measure="rows", count=1000, job=job)
        return float(worker.order(measure="rows", count=count, job=job)["grown"]) / 1e6


def tables(rows: Rows) -> list[Table]:
    """Show the rates by rows."""
    lines = [
        (
            NAMES["reference"] + ", bulk.execute"
            if row["contender"] == "reference"
            else f"{row['rows']:,} rows, {row['keys']} keys",
            show(row["cpu_us"]),
            show(row["ours_to_reference"], 3) if "ours_to_reference" in row else "",
            f"{row['rows_per_cpu_second']['median']:,.0f}",
            f"{row['rows_per_second']['median']:,.0f}",
            f"{row['peak_mb']:.1f}" if "peak_mb" in row else "",
        )
        for row in rows
    ]
    columns = (
        "",
        "CPU per row, µs",
        "ours / reference",
        "rows per CPU second",
        "rows per second",
        "peak above warm, MB",
    )
    return [Table("register_many", columns, lines)]


def findings(rows: Rows) -> list[Finding]:
    """Hold the longest run against the reference, and against the shortest."""
    ours = [row for row in rows if row["contender"] == "ours" and row["keys"] == "random"]
    last = ours[-1]
    found = [
        Finding(
            f"register_many, CPU per row at {last['rows']:,} to {ours[0]['rows']:,} rows",
            last["growth"],
            1.1,
        )
    ]
    if "ours_to_reference" in last:
        name = f"register_many, CPU per row, to {NAMES['reference']}'s bulk.execute"
        found.insert(0, Finding(name, last["ours_to_reference"], LIMIT, 3))
    return found
