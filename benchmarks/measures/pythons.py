"""CPU time of a register on each installed Python, on asyncio and uvloop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks import environments
from benchmarks.environments import NAMES, Contender
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "Pythons and event loops"


class Scale(Struct):
    """Settings. Without `other_pythons` only this Python is measured."""

    other_pythons: bool
    loops: list[str]
    count: int
    rounds: int


SCALES = {
    "tiny": Scale(other_pythons=False, loops=["asyncio"], count=8, rounds=2),
    "quick": Scale(other_pythons=False, loops=["uvloop"], count=200, rounds=6),
    "full": Scale(other_pythons=True, loops=["asyncio", "uvloop"], count=400, rounds=24),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Interleave the contenders of one Python and event loop."""
    found: Rows = []
    participants = [each for each in contenders if each.key in {"reference", "ours", "floor"}]
    by_python = {environments.HERE: participants}
    if scale.other_pythons:
        others = [each for each in environments.pythons() if each != environments.HERE]
        by_python |= {each: environments.on_python(each) for each in others}
    for python, chosen in by_python.items():
        for loop in scale.loops:
            with serving() as server, workers(chosen, server, loop) as running:
                slices = {
                    each.contender.key: partial(each.cost, scale.count, concurrency=16)
                    for each in running
                }
                values = interleave(slices, scale.rounds)
            found += [
                {
                    "python": python,
                    "loop": loop,
                    "contender": key,
                    "cpu_us": Spread.of(each),
                    "ours_to_this": ratio(values["ours"], each),
                }
                for key, each in values.items()
            ]
    return found


def tables(rows: Rows) -> list[Table]:
    cases: dict[tuple[str, str], dict[str, dict[str, object]]] = {}
    for row in rows:
        cases.setdefault((row["python"], row["loop"]), {})[row["contender"]] = row
    lines = []
    for (python, loop), case in cases.items():
        others = [key for key in ("reference", "floor") if key in case]
        lines.append(
            (
                f"{python}, {loop}",
                show(case["ours"]["cpu_us"], 1),
                *(show(case[key]["ours_to_this"]) for key in others),
            )
        )
    columns = ("", "ours, µs", *(f"ours / {NAMES[key]}" for key in others))
    return [
        Table("CPU time of a register, 16 concurrent, by Python and event loop", columns, lines)
    ]


def findings(_rows: Rows) -> list[Finding]:
    """Return nothing: the tables say it all."""
    return []
