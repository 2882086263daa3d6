"""What a retry costs, and what tenacity costs a call that needs none."""

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
# As good as no wait, for both; ours without a budget, which so many retries would exhaust.
SETTINGS: dict[str, Any] = {
    "initial_retry_delay": 1e-6,
    "max_retry_delay": 1.0,
    "retry_budget": None,
}


class Scale(Struct):
    """How much to measure."""

    count: int
    rounds: int


SCALES = {
    "tiny": Scale(count=8, rounds=2),
    "quick": Scale(count=200, rounds=8),
    "full": Scale(count=400, rounds=40),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Compare calls that succeed at once with calls whose first attempt gets a 503."""
    taking_part = [each for each in contenders if each.key in {"ours", "reference"}]
    with (
        serving() as good,
        serving(busy=True) as busy,
        workers(taking_part, good, **SETTINGS) as at_once,
        workers(taking_part, busy, **SETTINGS) as retrying,
    ):
        slices = {
            (name, each.contender.key): partial(each.cost, scale.count)
            for name, running in (("at once", at_once), ("one retry", retrying))
            for each in running
        }
        found = interleave(slices, scale.rounds)
        tenacity = {
            each.contender.key: each.order(measure="loaded", module="tenacity") for each in at_once
        }
    rows: Rows = []
    for key, is_loaded in tenacity.items():
        plain, retried = found["at once", key], found["one retry", key]
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
    """Show both kinds of calls."""
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
    columns = ("", "at once, µs", "one retry, µs", "the retry, µs", "ours / this")
    calls = rows[0]["successful_calls"]
    loaded = any(row["tenacity_imported"] for row in rows if row["contender"] == "ours")
    note = f"After {calls} successful calls of ours tenacity is{'' if loaded else ' not'} imported."
    return [Table("A register with one retry after a 503, CPU", columns, lines, note=note)]


def findings(rows: Rows) -> list[Finding]:
    """What is not imported takes no time."""
    return [
        Finding("tenacity's share of a call that succeeds at once, µs", 0.0, 1, 0)
        for row in rows
        if row["contender"] == "ours" and not row["tenacity_imported"]
    ]
