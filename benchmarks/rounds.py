"""Interleaved rounds: A B C, A B C, ..., so that what disturbs the machine disturbs all alike."""

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
        """Summarise values."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def interleave(
    slices: Mapping[Key, Callable[[], Value]], rounds: int, *, warm: bool = True
) -> dict[Key, list[Value]]:
    """Measure each slice once a round, after a round that only warms up.

    The order turns by one each round: nobody always comes after the same neighbour's cache.

    Args:
        slices: By key, what measures one slice.
        rounds: Rounds that count.
        warm: Whether to make the round that does not.
    """
    values: dict[Key, list[Value]] = {key: [] for key in slices}
    if warm:
        for measure in slices.values():
            measure()
    order = list(slices)
    for turn in range(rounds):
        shift = turn % len(order)
        for key in [*order[shift:], *order[:shift]]:
            values[key].append(slices[key]())
    return values


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Compare round by round, so that a slow moment of the machine cancels out."""
    return Spread.of([mine / theirs for mine, theirs in zip(values, base, strict=True)])
