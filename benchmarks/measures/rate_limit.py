"""Requests per finished row at a server with a rate limit that sends `Retry-After`."""

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


class Scale(Struct):
    """Settings: a run ends after `count` rows or `seconds`; `rate` is the limit per second."""

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
    """Run all cases in parallel, each with its own server: they spend their time waiting."""
    cases = [
        (callers, each)
        for callers in scale.callers
        for each in contenders
        if each.key in {"ours", "reference"}
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(lambda case: _run(scale, *case), cases))


def _run(scale: Scale, callers: int, contender: Contender) -> dict[str, Any]:
    with serving(rate=scale.rate) as server, workers([contender], server) as (worker,):
        server.reset()
        done = worker.run("flood", count=scale.count, callers=callers, seconds=scale.seconds)
        stats = server.stats()
    return {
        "contender": contender.key,
        "callers": callers,
        "finished": done["finished"],
        "raised": done["raised"],
        "requests": stats["requests"],
        "refused": stats["rejected"],
        "seconds": done["wall"],
        "requests_per_row": stats["requests"] / done["finished"],
        "share_of_rate": done["finished"] / done["wall"] / scale.rate,
    }


def tables(rows: Rows) -> list[Table]:
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
        "failed",
        "requests",
        "rejected",
        "share of the limit",
    )
    note = "The first burst is included; in a short run it raises the share of the limit."
    return [
        Table(
            "Limit of 200 requests per second, 429 with Retry-After: 1", columns, lines, note=note
        )
    ]


def findings(rows: Rows) -> list[Finding]:
    """Return the requests per finished row of ours."""
    return [
        Finding(
            f"requests per finished row, {row['callers']} callers",
            row["requests_per_row"],
            3,
        )
        for row in rows
        if row["contender"] == "ours"
    ]
