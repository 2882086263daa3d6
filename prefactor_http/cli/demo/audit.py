"""Compares what the client reported with what was applied on the server."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.testing import LocalPrefactor


class DemoSummary(Struct, frozen=True, kw_only=True):
    """The result of the demo.

    Attributes:
        runs: Lifecycles that finished.
        calls: Calls that returned.
        attempts: Attempts that the calls took.
        faulty: Attempts that the server made fail.
        responses_lost: Writes that were applied, but whose response was lost.
        replays: Attempts that the server answered with the stored response of their key.
        doubled: Writes that the server applied without a call that returned.
        lost: Calls that returned although the server did not apply them.
        failed: Calls that raised an error.
    """

    runs: int
    calls: int
    attempts: int
    faulty: int
    responses_lost: int
    replays: int
    doubled: int
    lost: int
    failed: int

    @property
    def is_success(self) -> bool:
        """Whether every call was applied exactly once and returned."""
        return not (self.doubled or self.lost or self.failed)


class Audit:
    """Collects what the client reports."""

    def __init__(self) -> None:
        self._reported: Counter[tuple[str, str]] = Counter()
        self._keys_of_unknown_outcome: set[str | None] = set()
        self._failed = 0
        self._runs = 0

    def record_call(self, action: str, instance_id: str) -> None:
        """Record that a call returned."""
        self._reported[action, instance_id] += 1

    def record_run(self) -> None:
        """Record that a lifecycle has finished."""
        self._runs += 1

    def record_error(self, error: PrefactorHttpError) -> None:
        """Record that a call raised."""
        self._failed += 1
        if error.outcome_unknown:
            self._keys_of_unknown_outcome.add(error.idempotency_key)

    def summary(self, api: LocalPrefactor, attempts: int) -> DemoSummary:
        """Compare the calls with the server's ledger."""
        effects = Counter(
            (effect.action, effect.resource_id or "")
            for effect in api.effects
            if effect.idempotency_key not in self._keys_of_unknown_outcome
        )
        return DemoSummary(
            runs=self._runs,
            calls=self._reported.total(),
            attempts=attempts,
            faulty=sum(api.faults_injected.values()),
            responses_lost=api.replies_lost,
            replays=api.replays,
            doubled=(effects - self._reported).total(),
            lost=(self._reported - effects).total(),
            failed=self._failed,
        )
