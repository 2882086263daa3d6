"""`register_many`: CPU time per row, rows per second and memory, by number of rows."""

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

TITLE = "register_many"


class Variant(Struct):
    """The kind of keys and the size of the schema."""

    keys: str
    job: str | None
    kilobytes: float


_SMALL = 0.5
_VARIANTS = (
    Variant("random", None, _SMALL),
    Variant("derived", "tickets-2026-11", _SMALL),
    Variant("random", None, 4.0),
)


class Scale(Struct):
    """Settings. A case is (number of rows, repetitions per slice).

    With the larger schema only the case `large` is measured.
    """

    cases: list[tuple[int, int]]
    large: tuple[int, int]
    reference_requests: int
    rounds: int


SCALES = {
    "tiny": Scale([(200, 1), (400, 1)], (200, 1), reference_requests=1, rounds=2),
    "quick": Scale(
        [(10**3, 20), (10**4, 2), (10**5, 1)], (10**4, 1), reference_requests=20, rounds=3
    ),
    "full": Scale(
        [(10**3, 100), (10**4, 10), (10**5, 1), (10**6, 1)],
        (10**5, 1),
        reference_requests=100,
        rounds=6,
    ),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Interleave `register_many` and the reference's `bulk.execute` of 100 items."""
    participants = [each for each in contenders if each.key in {"ours", "reference"}]
    rows: Rows = []
    for variant in _VARIANTS:
        cases = scale.cases if variant.kilobytes == _SMALL else [scale.large]
        with serving() as server, workers(participants, server) as running:
            slices = {}
            for worker in running:
                if worker.contender.key == "reference":
                    requests = scale.reference_requests
                    slices["reference"] = partial(_bulk, worker, requests, variant)
                    slices["reference"]()
                    continue
                _rows(worker, 1000, 1, variant)
                for number, times in cases:
                    slices[str(number)] = partial(_rows, worker, number, times, variant)
            found = interleave(slices, scale.rounds, warm=False)
        named = {"keys": variant.keys, "kilobytes": variant.kilobytes}
        reference = found.pop("reference", None)
        if reference and variant.job is None:
            rows.append({"contender": "reference", **named, **_costs(reference)})
        least = found[str(cases[0][0])]
        for count, values in found.items():
            row = {"contender": "ours", **named, "rows": int(count), **_costs(values)}
            row["growth"] = ratio(_column(values, 0), _column(least, 0))
            if reference:
                row["ours_to_reference"] = ratio(_column(values, 0), _column(reference, 0))
            rows.append(row | {"peak_mb": _peak(participants, int(count), variant)})
    return rows


def _rows(worker: Worker, count: int, times: int, variant: Variant) -> tuple[float, float]:
    done = _run(worker, count, times, variant)
    return done["cpu"] / (count * times), done["wall"] / (count * times)


def _run(worker: Worker, count: int, times: int, variant: Variant) -> dict[str, float]:
    return worker.run(
        "rows", count=count, times=times, job=variant.job, kilobytes=variant.kilobytes
    )


def _bulk(worker: Worker, requests: int, variant: Variant) -> tuple[float, float]:
    done = worker.run("cost", call="bulk", number=100, kilobytes=variant.kilobytes, count=requests)
    return done["cpu"] / (100 * requests), done["wall"] / (100 * requests)


def _costs(values: Sequence[tuple[float, float]]) -> dict[str, Spread]:
    return {
        "cpu_us": Spread.of([1e6 * each for each in _column(values, 0)]),
        "rows_per_second": Spread.of([1 / each for each in _column(values, 1)]),
        "rows_per_cpu_second": Spread.of([1 / each for each in _column(values, 0)]),
    }


def _column(values: Sequence[tuple[float, float]], number: int) -> list[float]:
    return [each[number] for each in values]


def _peak(contenders: Sequence[Contender], count: int, variant: Variant) -> float:
    """Return the growth of peak memory in MB, after 1,000 rows have been registered."""
    ours = [each for each in contenders if each.key == "ours"]
    with serving() as server, workers(ours, server) as (worker,):
        _run(worker, 1000, 1, variant)
        return _run(worker, count, 1, variant)["grown"] / 1e6


def tables(rows: Rows) -> list[Table]:
    lines = [
        (
            _name(row),
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
        "CPU time per row, µs",
        "ours / reference",
        "rows per CPU second",
        "rows per second",
        "growth of peak memory, MB",
    )
    return [Table("register_many", columns, lines)]


def _name(row: dict[str, Any]) -> str:
    schema = f"schema of {row['kilobytes']:g} kB"
    if row["contender"] == "reference":
        return f"{NAMES['reference']}, bulk.execute, {schema}"
    return f"{row['rows']:,} rows, {row['keys']} keys, {schema}"


def findings(rows: Rows) -> list[Finding]:
    """Compare the longest run with the reference and with the shortest run."""
    random = [row for row in rows if row["contender"] == "ours" and row["keys"] == "random"]
    ours = [row for row in random if row["kilobytes"] == _SMALL]
    last = ours[-1]
    found = [
        Finding(
            f"register_many, CPU time per row at {last['rows']:,} rows"
            f" relative to {ours[0]['rows']:,}",
            last["growth"],
        )
    ]
    for row in (random[-1], last):
        if "ours_to_reference" in row:
            schema = f"schema of {row['kilobytes']:g} kB"
            name = (
                f"register_many, CPU time per row, {schema},"
                f" relative to {NAMES['reference']}'s bulk.execute"
            )
            found.insert(0, Finding(name, row["ours_to_reference"], 3))
    return found
