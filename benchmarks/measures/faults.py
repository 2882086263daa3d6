"""What a caller is told, and what took effect, while a share of all attempts goes wrong."""

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
# Short waits and a short timeout, the same for both, so that a run takes seconds.
PACE: dict[str, Any] = {"request_timeout": 0.5, "initial_retry_delay": 0.02, "max_retry_delay": 0.5}
# Ours alone has a budget: so many failures are what it is made to stop, so it is off here.
PATIENT = {**PACE, "max_retries": 12, "retry_budget": None}
SETTINGS = {"as it comes": PACE, "12 retries": PATIENT}
_STEPS = ("register", "start", "finish")
_EFFECTS = ("registered", "started", "finished")
_COUNTS = ("completed", "doubled", "lost", "raised", "wrongly_raised", "raised_unknown")


class Scale(Struct):
    """How much to measure: `count` lifecycles for each seed, rate and setting."""

    rates: list[float]
    seeds: list[int]
    settings: list[str]
    count: int
    concurrency: int
    at_once: int


_RATES = [0, 0.1, 0.2, 0.3, 0.4, 0.5]
SCALES = {
    "tiny": Scale([0.3], [1], ["12 retries"], count=10, concurrency=10, at_once=1),
    "quick": Scale(_RATES, [1], ["12 retries"], count=150, concurrency=50, at_once=4),
    "full": Scale(_RATES, list(range(1, 7)), list(SETTINGS), count=300, concurrency=50, at_once=3),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Carry out lifecycles; several runs at once, each with a server of its own."""
    taking_part = [each for each in contenders if each.key in {"ours", "reference"}]
    cases = list(product(scale.settings, scale.rates, taking_part))
    runs = [(*case, seed) for case in cases for seed in scale.seeds]
    with ThreadPoolExecutor(scale.at_once) as pool:
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
        done = worker.order(measure="lifecycles", count=scale.count, concurrency=scale.concurrency)
        stats = server.stats()
    return {"seed": seed, "seconds": done["wall"], **judge(done["records"], stats)}


def judge(records: Sequence[dict[str, Any]], stats: dict[str, Any]) -> dict[str, int]:
    """Hold what each caller was told against what took effect.

    doubled: registers that took effect once too often. lost: writes reported as done that did not
    take effect. raised: errors. wrongly_raised: of these, errors for a write that took effect
    which do not say so (`outcome_unknown`). raised_unknown: those for such a write which do.
    """
    took_effect = {name: set(stats[name]) for name in _EFFECTS}
    counts = dict.fromkeys(_COUNTS, 0)
    counts["doubled"] = stats["doubled"]
    for record in records:
        for step, effect in zip(_STEPS, _EFFECTS, strict=True):
            happened = record["name"] in took_effect[effect]
            if record["raised"] != step:
                counts["lost"] += not happened
                continue
            counts["raised"] += 1
            if happened:
                counts["raised_unknown" if record["outcome_unknown"] else "wrongly_raised"] += 1
            break
        else:
            counts["completed"] += 1
    return counts


def tables(rows: Rows) -> list[Table]:
    """Show a line for each rate, and each setting in a table of its own."""
    columns = (
        "faulty attempts",
        "contender",
        "doubled",
        "lost",
        "wrongly raised",
        "raised as unknown",
        "raised in all",
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
        title = f"{rows[0]['lifecycles']:,} lifecycles: register, start, finish; {setting}"
        found.append(Table(title, columns, lines, left=2))
    return found


def findings(rows: Rows) -> list[Finding]:
    """Hold ours at 30 % against the target, which is nought."""
    return [
        Finding(
            f"{name.replace('_', ' ')} at 30 % faulty attempts, {row['setting']}", row[name], 0, 0
        )
        for row in rows
        for name in ("doubled", "lost", "wrongly_raised")
        if row["contender"] == "ours" and row["rate"] == 0.3
    ]
