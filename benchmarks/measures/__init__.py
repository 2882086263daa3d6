"""The measures, one per module: settings, measurement, tables and summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from msgspec import Struct

from benchmarks.environments import Contender
from benchmarks.results import Rows
from benchmarks.tables import Finding, Table

# In the order in which they run and appear in reports.
NAMES = (
    "calls",
    "latency",
    "bulk",
    "register_many",
    "batching",
    "outbox",
    "retry",
    "faults",
    "rate_limit",
    "memory",
    "imports",
    "pythons",
    "allocator",
    "first_line",
)


class Measure(Protocol):
    """The interface of each module of this package.

    Attributes:
        TITLE: The heading in the report.
        SCALES: Settings by scale: `tiny` (for tests), `quick` and `full`.
    """

    TITLE: str
    SCALES: Mapping[str, Struct]

    @staticmethod
    def measure(scale: Struct, contenders: Sequence[Contender]) -> Rows:
        """Run the measure; contenders that do not take part are ignored."""
        ...

    @staticmethod
    def tables(rows: Rows) -> list[Table]:
        """Return the tables for the rows of a results file."""
        ...

    @staticmethod
    def findings(rows: Rows) -> list[Finding]:
        """Return the figures for the summary; there may be none."""
        ...


def named(name: str) -> Measure:
    return cast("Measure", import_module(f"benchmarks.measures.{name}"))
