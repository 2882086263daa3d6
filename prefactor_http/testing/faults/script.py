"""Decides which attempts fail: scripted faults first, then random ones."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from prefactor_http.testing.faults.faults import RETRY_AFTER_KINDS, Fault, FaultKind

_PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class _Scripted:
    fault: Fault
    method: str | None
    path: str | None
    operation: str | None

    def matches(self, method: str, path: str, operation: str | None) -> bool:
        return (
            (self.method is None or self.method.upper() == method)
            and (self.operation is None or self.operation == operation)
            and (
                self.path is None
                or fnmatchcase(path, self.path)
                or fnmatchcase(path, _PREFIX + self.path)
            )
        )


class FaultScript:
    """Scripted and random faults. Faults may be added from any thread."""

    def __init__(
        self, *, rate: float, seed: int, kinds: Sequence[FaultKind], retry_after: int
    ) -> None:
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"faults must be between 0 and 1, got {rate}")
        self.rate: float = rate
        self._kinds = tuple(kinds)
        self._retry_after = retry_after
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._scripted: list[_Scripted] = []

    def add(
        self,
        faults: Sequence[Fault | FaultKind],
        *,
        method: str | None,
        path: str | None,
        operation: str | None,
    ) -> None:
        entries = [
            _Scripted(fault if isinstance(fault, Fault) else Fault(fault), method, path, operation)
            for fault in faults
        ]
        with self._lock:
            self._scripted.extend(entries)

    def clear(self) -> None:
        """Remove all scripted faults and stop random ones."""
        with self._lock:
            self._scripted.clear()
        self.rate = 0.0

    @property
    def pending(self) -> int:
        return len(self._scripted)

    def next_fault(self, method: str, path: str, operation: str | None) -> Fault | None:
        """Return the first scripted fault that matches the attempt, a random fault, or None."""
        with self._lock:
            for position, entry in enumerate(self._scripted):
                if entry.matches(method, path, operation):
                    del self._scripted[position]
                    return entry.fault
        if self.rate and self._random.random() < self.rate:
            kind = self._random.choice(self._kinds)
            return Fault(kind, retry_after=self._retry_after if kind in RETRY_AFTER_KINDS else None)
        return None
