"""CPU time of the import."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from benchmarks.environments import OURS, Contender
from benchmarks.processes import ROOT
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "Import"
_CODE = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


class Scale(Struct):
    """Settings."""

    rounds: int


SCALES = {"tiny": Scale(rounds=2), "quick": Scale(rounds=11), "full": Scale(rounds=100)}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Import in a new process each time, from bytecode, which the warm-up round compiles."""
    pythons = {each.key: each.python for each in contenders}
    cases = {
        "aiohttp alone": (pythons.get("ours", OURS.python), "aiohttp"),
        "prefactor_http 1.0": (pythons.get("ours", OURS.python), "prefactor_http"),
    }
    if "reference" in pythons:
        cases["prefactor-http 0.4.3"] = (pythons["reference"], "prefactor_http")
    slices = {name: partial(_import, *case) for name, case in cases.items()}
    found = interleave(slices, scale.rounds)
    base = found["aiohttp alone"]
    return [
        {
            "import": name,
            "cpu_ms": Spread.of([1e3 * each for each in values]),
            "best_ms": 1e3 * min(values),
            "to_aiohttp": ratio(values, base),
            "best_to_best": min(values) / min(base),
        }
        for name, values in found.items()
    ]


def _import(python: str, module: str) -> float:
    environ = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # This checkout is last on the path, so the reference's own package takes precedence.
    code = f"import sys; sys.path.append({str(ROOT)!r}); " + _CODE.format(module)
    run = subprocess.run(
        [python, "-P", "-c", code], check=True, capture_output=True, text=True, env=environ
    )
    return float(run.stdout)


def tables(rows: Rows) -> list[Table]:
    lines = [
        (
            row["import"],
            show(row["cpu_ms"], 1),
            show(row["to_aiohttp"]),
            show(row["best_ms"], 1),
            show(row["best_to_best"]),
        )
        for row in rows
    ]
    columns = ("", "CPU, ms", "relative to aiohttp", "best, ms", "best / best of aiohttp")
    return [Table("Import from bytecode in a new process", columns, lines)]


def findings(rows: Rows) -> list[Finding]:
    """Return the ratio to the import of aiohttp alone."""
    return [
        Finding("import, CPU time relative to aiohttp alone", row["to_aiohttp"])
        for row in rows
        if row["import"] == "prefactor_http 1.0"
    ]
