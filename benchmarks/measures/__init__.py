"""The measures, each a file: how much to measure, what is found, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from msgspec import Struct

from benchmarks.environments import Contender
from benchmarks.results import Rows
from benchmarks.tables import Finding, Table

# In the order in which they run and are shown.
NAMES = (
    "calls",
    "latency",
    "bulk",
    "register_many",
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
    """What each module of this package offers.

    Attributes:
        TITLE: In a few words.
        SCALES: How much to measure, by `tiny` (tests), `quick` and `full`.
    """

    TITLE: str
    SCALES: Mapping[str, Struct]

    @staticmethod
    def measure(scale: Struct, contenders: Sequence[Contender]) -> Rows:
        """Measure; a contender that has no part in it is left out."""
        ...

    @staticmethod
    def tables(rows: Rows) -> list[Table]:
        """Show the rows as they are in the file."""
        ...

    @staticmethod
    def findings(rows: Rows) -> list[Finding]:
        """Hold the rows against the targets."""
        ...


def named(name: str) -> Measure:
    """Find a measure."""
    return cast("Measure", import_module(f"benchmarks.measures.{name}"))
