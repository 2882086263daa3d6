"""The cost of a retry, and of tenacity in a call without one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "A retry"
# Practically no wait for both. No retry budget for ours: these many retries would exhaust it.
SETTINGS: dict[str, Any] = {
    "initial_retry_delay": 1e-6,
    "max_retry_delay": 1.0,
    "retry_budget": None,
}


class Scale(Struct):
    """Settings."""

    count: int
    rounds: int


SCALES = {
    "tiny": Scale(count=8, rounds=2),
    "quick": Scale(count=200, rounds=8),
    "full": Scale(count=400, rounds=40),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Compare calls without a retry with calls whose first attempt gets a 503."""
    participants = [each for each in contenders if each.key in {"ours", "reference"}]
    with (
        serving() as good,
        serving(busy=True) as busy,
        workers(participants, good, **SETTINGS) as without_retry,
        workers(participants, busy, **SETTINGS) as retrying,
    ):
        slices = {
            (name, each.contender.key): partial(each.cost, scale.count)
            for name, running in (("no retry", without_retry), ("one retry", retrying))
            for each in running
        }
        found = interleave(slices, scale.rounds)
        tenacity = {
            each.contender.key: each.run("is_imported", module="tenacity") for each in without_retry
        }
    rows: Rows = []
    for key, is_loaded in tenacity.items():
        plain, retried = found["no retry", key], found["one retry", key]
        extra = [more - less for more, less in zip(retried, plain, strict=True)]
        rows.append(
            {
                "contender": key,
                "at_once_us": Spread.of(plain),
                "one_retry_us": Spread.of(retried),
                "extra_us": Spread.of(extra),
                "ours_to_this": ratio(found["one retry", "ours"], retried),
                "successful_calls": scale.count * (scale.rounds + 1),
                "tenacity_imported": is_loaded,
            }
        )
    return rows


def tables(rows: Rows) -> list[Table]:
    lines = [
        (
            NAMES[row["contender"]],
            show(row["at_once_us"], 1),
            show(row["one_retry_us"], 1),
            show(row["extra_us"], 1),
            "" if row["contender"] == "ours" else show(row["ours_to_this"]),
        )
        for row in rows
    ]
    columns = ("", "no retry, µs", "one retry, µs", "difference, µs", "ours / contender")
    calls = rows[0]["successful_calls"]
    loaded = any(row["tenacity_imported"] for row in rows if row["contender"] == "ours")
    note = (
        f"After {calls:,} successful calls of ours, tenacity is{'' if loaded else ' not'} imported."
    )
    return [Table("CPU time of a register with one retry after a 503", columns, lines, note=note)]


def findings(rows: Rows) -> list[Finding]:
    """Return the cost of a retry."""
    return [
        Finding("a retry, additional CPU time, µs", row["extra_us"], 0)
        for row in rows
        if row["contender"] == "ours"
    ]
