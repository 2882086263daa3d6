"""Chooses the next fault: from a script, otherwise from a shuffled deck.

With independent random choices, rare faults would be missing in short runs. From a deck, each fault
is dealt once before any is dealt twice, as far as the requests allow. Whether a request gets a
fault at all is still random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class Deck:
    """Deals kinds of faults.

    Args:
        kinds: The kinds.
        rng: Shuffles the deck.
        pickiness: How few requests suit a kind. The pickiest are dealt first.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        rng: random.Random,
        pickiness: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._kinds = kinds
        self._pickiness = pickiness
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
            self._waiting += refill
            self._waiting.sort(key=self._pickiness, reverse=True)
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
