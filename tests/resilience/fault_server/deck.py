"""Chooses the next fault: from a script, otherwise from a shuffled deck.

With independent random choices, rare faults would be missing in short runs. From a deck, each fault
is dealt once before any is dealt twice, as far as the requests allow. Whether a request gets a
fault at all is still random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any


class Deck:
    """Deals kinds of faults.

    Args:
        kinds: The kinds.
        rng: Shuffles the deck.
        first: Kinds that are dealt before the others, because few requests suit them.
    """

    def __init__(
        self, kinds: Sequence[str], rng: random.Random, first: Collection[str] = ()
    ) -> None:
        self._kinds = kinds
        self._first = first
        self._rng = rng
        self._waiting: list[str] = []

    def deal(self, is_applicable: Callable[[str], bool]) -> str | None:
        """Return the next applicable kind, or None."""
        for _ in range(2):
            for place, kind in enumerate(self._waiting):
                if is_applicable(kind):
                    del self._waiting[place]
                    return kind
            waiting = set(self._waiting)
            refill = [kind for kind in self._kinds if kind not in waiting]
            self._rng.shuffle(refill)
            refill.sort(key=lambda kind: kind not in self._first)
            self._waiting += refill
        return None


class Script:
    """Faults for certain requests: ``{"fault": …, "operation": …, "key": …, "times": …}``.

    ``fault`` is None for a request without a fault. Without ``operation`` and ``key`` any request
    matches. ``times`` defaults to 1.
    """

    def __init__(self, steps: Iterable[dict[str, Any]] = ()) -> None:
        self._steps = [{"times": 1, **step} for step in steps]

    def take(self, operation: str, keys: set[str]) -> dict[str, Any] | None:
        """Return the first matching step and count it."""
        for step in self._steps:
            if step.get("operation", operation) == operation and (
                "key" not in step or step["key"] in keys
            ):
                step["times"] -= 1
                if step["times"] <= 0:
                    self._steps.remove(step)
                return step
        return None
