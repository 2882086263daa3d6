"""Interleaved rounds: A B C, A B C, ..., so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from benchmarks.processes import Worker

Sample = Mapping[str, float]


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
    workers: Sequence[Worker], rounds: int, measure: Callable[[Worker], float]
) -> dict[str, list[float]]:
    """Measure each worker once a round, after a round that only warms up.

    The order turns by one each round: nobody always comes after the same neighbour's cache.
    """
    values: dict[str, list[float]] = {worker.contender.key: [] for worker in workers}
    for worker in workers:
        measure(worker)
    for turn in range(rounds):
        shift = turn % len(workers)
        for worker in [*workers[shift:], *workers[:shift]]:
            values[worker.contender.key].append(measure(worker))
    return values


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Compare round by round, so that a slow moment of the machine cancels out."""
    return Spread.of([mine / theirs for mine, theirs in zip(values, base, strict=True)])
