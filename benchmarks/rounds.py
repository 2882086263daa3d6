"""Interleaves slices of several contenders, so that a disturbance affects all of them alike.

The order rotates: A B C, B C A, C A B, ... Ratios are taken within a round and then summarised.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Spread(Struct):
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def interleave(
    slices: Mapping[Key, Callable[[], Value]], rounds: int, *, warm: bool = True
) -> dict[Key, list[Value]]:
    """Measure each slice once per round, after a warm-up round.

    The order rotates by one each round, so that no slice always runs after the same other one.

    Args:
        slices: Functions that measure one slice, by key.
        rounds: Number of rounds, without the warm-up.
        warm: Whether to run a warm-up round.
    """
    values: dict[Key, list[Value]] = {key: [] for key in slices}
    if warm:
        for measure in slices.values():
            measure()
    order = list(slices)
    for number in range(rounds):
        shift = number % len(order)
        for key in [*order[shift:], *order[:shift]]:
            values[key].append(slices[key]())
    return values


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Compare values of the same round, so that slow moments of the machine cancel out."""
    return Spread.of([mine / theirs for mine, theirs in zip(values, base, strict=True)])
