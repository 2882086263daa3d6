"""Outcomes on their way to whoever iterates: as they come, or in the order of the source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from prefactor_http._batch_outcome import Outcome


class Release:
    """Holds outcomes until they are taken.

    Args:
        ordered: Whether they come out in the order of the source.

    Attributes:
        ready: Those that can be taken.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ready: deque[Outcome] = deque()
        self._ordered = ordered
        self._early: dict[int, Outcome] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self.ready) + len(self._early)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes in."""
        if not self._ordered:
            self.ready.extend(outcomes)
            return
        for outcome in outcomes:
            self._early[outcome.index] = outcome
        while (ready := self._early.pop(self._next, None)) is not None:
            self.ready.append(ready)
            self._next += 1
