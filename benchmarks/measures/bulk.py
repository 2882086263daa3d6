"""CPU time per item of `bulk.execute`, with keys from the caller."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import Worker, serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "Bulk"
PARTICIPANTS = ("reference", "ours", "hand")


class Scale(Struct):
    """Settings. A case is (items, kilobytes of schema, requests per slice)."""

    cases: list[tuple[int, float, int]]
    rounds: int


_ALL = [(10, 0.5, 80), (100, 0.5, 10), (10, 20, 16), (100, 20, 2)]
SCALES = {
    "tiny": Scale([(10, 0.5, 2)], rounds=2),
    "quick": Scale(_ALL, rounds=6),
    "full": Scale([(items, size, 2 * requests) for items, size, requests in _ALL], rounds=30),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Build items and execute them; `read` also reads the id from each output."""
    participants = [each for each in contenders if each.key in PARTICIPANTS]
    rows: Rows = []
    with serving() as server, workers(participants, server) as running:
        for items, kilobytes, requests in scale.cases:
            for read in (False, True):
                slices = {
                    each.contender.key: partial(_cost, each, items, kilobytes, requests, read=read)
                    for each in running
                }
                found = interleave(slices, scale.rounds)
                rows += [
                    {
                        "items": items,
                        "kilobytes": kilobytes,
                        "read": read,
                        "contender": key,
                        "cpu_us": Spread.of(values),
                        "ours_to_this": ratio(found["ours"], values),
                    }
                    for key, values in found.items()
                ]
    return rows


def _cost(worker: Worker, items: int, kilobytes: float, requests: int, *, read: bool) -> float:
    done = worker.run(
        "cost", call="bulk", number=items, kilobytes=kilobytes, count=requests, read=read
    )
    return 1e6 * float(done["cpu"]) / (items * requests)


def tables(rows: Rows) -> list[Table]:
    cases: dict[str, dict[str, dict[str, object]]] = {}
    for row in rows:
        case = f"{row['items']} items, {row['kilobytes']:g} kB{', ids read' * row['read']}"
        cases.setdefault(case, {})[row["contender"]] = row
    present = [key for key in PARTICIPANTS if key in {row["contender"] for row in rows}]
    others = [key for key in present if key != "ours"]
    lines = [
        (
            case,
            *(show(by_key[key]["cpu_us"], 1) for key in present),
            *(show(by_key[key]["ours_to_this"]) for key in others),
        )
        for case, by_key in cases.items()
    ]
    columns = ("µs", *(NAMES[key] for key in present), *(f"ours / {NAMES[key]}" for key in others))
    return [Table("bulk.execute, CPU time per item", columns, lines)]


def findings(rows: Rows) -> list[Finding]:
    """Return the ratio to the reference for 100 items."""
    return [
        Finding(
            f"bulk.execute of 100 items, CPU time relative to {NAMES['reference']}",
            row["ours_to_this"],
        )
        for row in rows
        if (row["items"], row["kilobytes"], row["read"]) == (100, 0.5, False)
        and row["contender"] == "reference"
    ]
