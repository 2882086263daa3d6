"""Compares what callers see with what took effect, while a fraction of all attempts fails."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.tables import Finding, Table

TITLE = "Faults"
# The same short waits and timeout for both, so that a run takes seconds.
FAST: dict[str, Any] = {"request_timeout": 0.5, "initial_retry_delay": 0.02, "max_retry_delay": 0.5}
# Only ours has a retry budget. It would stop these many retries, as intended, so it is off here.
MANY_RETRIES = {**FAST, "max_retries": 12, "retry_budget": None}
SETTINGS = {"3 retries": FAST, "12 retries": MANY_RETRIES}
_STEPS = ("register", "start", "finish")
_EFFECTS = ("registered", "started", "finished")
_WRONG = {"doubled": "doubled", "lost": "lost", "wrongly_raised": "failed but applied"}
_COUNTS = ("completed", "doubled", "lost", "raised", "wrongly_raised", "raised_unknown")


class Scale(Struct):
    """Settings: `count` lifecycles for each seed, rate and setting."""

    rates: list[float]
    seeds: list[int]
    settings: list[str]
    count: int
    concurrency: int
    parallel_runs: int


_RATES = [0, 0.1, 0.2, 0.3, 0.4, 0.5]
SCALES = {
    "tiny": Scale([0.3], [1], ["12 retries"], count=10, concurrency=10, parallel_runs=1),
    "quick": Scale(_RATES, [1], ["12 retries"], count=150, concurrency=50, parallel_runs=4),
    "full": Scale(
        _RATES, list(range(1, 7)), list(SETTINGS), count=300, concurrency=50, parallel_runs=3
    ),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Run lifecycles; several runs in parallel, each with its own server."""
    participants = [each for each in contenders if each.key in {"ours", "reference"}]
    cases = list(product(scale.settings, scale.rates, participants))
    runs = [(*case, seed) for case in cases for seed in scale.seeds]
    with ThreadPoolExecutor(scale.parallel_runs) as pool:
        done = list(pool.map(lambda run: _run(scale, *run), runs))
    rows: Rows = []
    for at, (setting, rate, contender) in enumerate(cases):
        of_case = done[at * len(scale.seeds) : (at + 1) * len(scale.seeds)]
        row = {
            "contender": contender.key,
            "setting": setting,
            "rate": rate,
            "lifecycles": scale.count * len(scale.seeds),
            "by_seed": of_case,
            **{name: sum(each[name] for each in of_case) for name in _COUNTS},
        }
        row["per_second"] = row["completed"] / sum(each["seconds"] for each in of_case)
        rows.append(row)
    return rows


def _run(scale: Scale, setting: str, rate: float, contender: Contender, seed: int) -> Any:
    with (
        serving(fault_rate=rate, seed=seed) as server,
        workers([contender], server, **SETTINGS[setting]) as (worker,),
    ):
        done = worker.run("lifecycles", count=scale.count, concurrency=scale.concurrency)
        stats = server.stats()
    return {"seed": seed, "seconds": done["wall"], **count_outcomes(done["records"], stats)}


def count_outcomes(records: Sequence[dict[str, Any]], stats: dict[str, Any]) -> dict[str, int]:
    """Compare the outcome that each caller saw with what took effect.

    doubled: registers that took effect twice. lost: writes that succeeded for the caller but did
    not take effect. raised: errors. Of these, for writes that took effect: wrongly_raised without
    `outcome_unknown`, raised_unknown with it.
    """
    applied_steps = {name: set(stats[name]) for name in _EFFECTS}
    counts = dict.fromkeys(_COUNTS, 0)
    counts["doubled"] = stats["doubled"]
    for record in records:
        for step, effect in zip(_STEPS, _EFFECTS, strict=True):
            applied = record["name"] in applied_steps[effect]
            if record["raised"] != step:
                counts["lost"] += not applied
                continue
            counts["raised"] += 1
            if applied:
                counts["raised_unknown" if record["outcome_unknown"] else "wrongly_raised"] += 1
            break
        else:
            counts["completed"] += 1
    return counts


def tables(rows: Rows) -> list[Table]:
    """Return one table per setting, with a row for each rate and contender."""
    columns = (
        "faulty attempts",
        "contender",
        "doubled",
        "lost",
        "failed but applied",
        "failed as unknown",
        "failed in total",
        "completed",
        "completed per second",
    )
    found = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        lines = [
            (
                f"{100 * row['rate']:.0f} %",
                NAMES[row["contender"]],
                str(row["doubled"]),
                str(row["lost"]),
                str(row["wrongly_raised"]),
                str(row["raised_unknown"]),
                str(row["raised"]),
                f"{100 * row['completed'] / row['lifecycles']:.1f} %",
                f"{row['per_second']:.0f}",
            )
            for row in rows
            if row["setting"] == setting
        ]
        count = rows[0]["lifecycles"]
        title = f"{count:,} lifecycles: register, start, finish; {setting}"
        found.append(Table(title, columns, lines, left=2))
    return found


def findings(rows: Rows) -> list[Finding]:
    """Return the errors of ours at a fault rate of 30 %."""
    return [
        Finding(f"{name} at 30 % faulty attempts, {row['setting']}", row[key], 0)
        for row in rows
        for key, name in _WRONG.items()
        if row["contender"] == "ours" and row["rate"] == 0.3
    ]
