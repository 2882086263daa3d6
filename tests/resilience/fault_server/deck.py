"""Which fault comes next: from a script, else dealt from a shuffled deck.

Independent dice leave rare faults out of short runs. From a deck, each fault comes once before any
comes twice, as far as the requests allow; how often a fault comes at all is still a dice's throw.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any


class Deck:
    """Deals kinds of faults.

    Args:
        kinds: The kinds.
        dice: Shuffles.
        first: Kinds that come before the others, as few requests suit them.
    """

    def __init__(
        self, kinds: Sequence[str], dice: random.Random, first: Collection[str] = ()
    ) -> None:
        self._kinds = kinds
        self._first = first
        self._dice = dice
        self._waiting: list[str] = []

    def deal(self, is_applicable: Callable[[str], bool]) -> str | None:
        """Give the next kind that is applicable; None where none is."""
        for _ in range(2):
            for place, kind in enumerate(self._waiting):
                if is_applicable(kind):
                    del self._waiting[place]
                    return kind
            waiting = set(self._waiting)
            refill = [kind for kind in self._kinds if kind not in waiting]
            self._dice.shuffle(refill)
            refill.sort(key=lambda kind: kind not in self._first)
            self._waiting += refill
        return None


class Script:
    """Faults for certain requests: ``{"fault": …, "operation": …, "key": …, "times": …}``.

    ``fault`` may be None for a request that is to be served well. Without ``operation`` and ``key``
    any request matches; ``times`` is 1 by default.
    """

    def __init__(self, steps: Iterable[dict[str, Any]] = ()) -> None:
        self._steps = [{"times": 1, **step} for step in steps]

    def take(self, operation: str, keys: set[str]) -> dict[str, Any] | None:
        """Give the first step that matches, and count it."""
        for step in self._steps:
            if step.get("operation", operation) == operation and (
                "key" not in step or step["key"] in keys
            ):
                step["times"] -= 1
                if step["times"] <= 0:
                    self._steps.remove(step)
                return step
        return None
