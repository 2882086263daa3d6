"""Requests per finished row at a server that admits 200 a second, and says when to come back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from benchmarks.environments import NAMES, Contender
from benchmarks.processes import serving, workers
from benchmarks.results import Rows
from benchmarks.tables import Finding, Table

TITLE = "Rate limit"
LIMIT = 1.05


class Scale(Struct):
    """How much to measure: until `count` rows are taken, or `seconds` are over."""

    callers: list[int]
    rate: int
    count: int
    seconds: float


SCALES = {
    "tiny": Scale([4], rate=1000, count=20, seconds=5),
    "quick": Scale([8, 64, 512], rate=200, count=1200, seconds=10),
    "full": Scale([8, 64, 512], rate=200, count=3000, seconds=30),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Run all at once, each with a server of its own: they wait far more than they work."""
    cases = [
        (callers, each)
        for callers in scale.callers
        for each in contenders
        if each.key in {"ours", "reference"}
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(lambda case: _flood(scale, *case), cases))


def _flood(scale: Scale, callers: int, contender: Contender) -> dict[str, Any]:
    with serving(rate=scale.rate) as server, workers([contender], server) as (worker,):
        server.reset()
        done = worker.order(
            measure="flood", count=scale.count, callers=callers, seconds=scale.seconds
        )
        stats = server.stats()
    return {
        "contender": contender.key,
        "callers": callers,
        "finished": done["finished"],
        "raised": done["raised"],
        "requests": stats["requests"],
        "refused": stats["refused"],
        "seconds": done["wall"],
        "requests_per_row": stats["requests"] / done["finished"],
        "share_of_rate": done["finished"] / done["wall"] / scale.rate,
    }


def tables(rows: Rows) -> list[Table]:
    """Show what the server saw and what the caller got."""
    lines = [
        (
            f"{row['callers']} callers, {NAMES[row['contender']]}",
            f"{row['requests_per_row']:.3f}",
            f"{row['finished']:,}",
            f"{row['raised']:,}",
            f"{row['requests']:,}",
            f"{row['refused']:,}",
            f"{100 * row['share_of_rate']:.0f} %",
        )
        for row in rows
    ]
    columns = (
        "",
        "requests per finished row",
        "finished",
        "raised",
        "requests",
        "refused",
        "of what is admitted",
    )
    note = "The first burst counts: in a short run it also lifts the rate above what is admitted."
    return [
        Table("200 requests a second admitted, 429 with Retry-After: 1", columns, lines, note=note)
    ]


def findings(rows: Rows) -> list[Finding]:
    """Hold ours against the target."""
    return [
        Finding(
            f"requests per finished row, {row['callers']} callers",
            row["requests_per_row"],
            LIMIT,
            3,
        )
        for row in rows
        if row["contender"] == "ours"
    ]
