"""Compares what the client reported with what took effect on the server."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.testing import LocalPrefactor


class Verdict(Struct, frozen=True, kw_only=True):
    """What the demo comes to.

    Attributes:
        runs: Lifecycles.
        calls: Calls that the client reported as done.
        attempts: Attempts that they took.
        faulty: Attempts that the server made faulty.
        replies_lost: Writes that took effect and whose reply never arrived.
        replays: Attempts that the server answered out of its memory of the key.
        doubled: Effects that no report of the client accounts for.
        lost: Reports of the client that no effect stands behind.
        given_up: Calls that ended in an error.
    """

    runs: int
    calls: int
    attempts: int
    faulty: int
    replies_lost: int
    replays: int
    doubled: int
    lost: int
    given_up: int

    @property
    def holds(self) -> bool:
        """Whether every call took effect once, and the client knew."""
        return not (self.doubled or self.lost or self.given_up)


class Audit:
    """Collects what the client reports."""

    def __init__(self) -> None:
        self._reported: Counter[tuple[str, str]] = Counter()
        self._unsure: set[str | None] = set()
        self._given_up = 0
        self._runs = 0

    def done(self, action: str, instance_id: str) -> None:
        """Note that a call returned."""
        self._reported[action, instance_id] += 1

    def run_ended(self) -> None:
        """Note that a lifecycle is over."""
        self._runs += 1

    def gave_up(self, error: PrefactorHttpError) -> None:
        """Note that a call raised."""
        self._given_up += 1
        if error.outcome_unknown:
            self._unsure.add(error.idempotency_key)

    def verdict(self, api: LocalPrefactor, attempts: int) -> Verdict:
        """Hold the reports against the server's effects.

        Args:
            api: The server.
            attempts: Attempts that the client made.

        Returns:
            What it comes to.
        """
        effects = Counter(
            (effect.action, effect.resource_id or "")
            for effect in api.effects
            if effect.idempotency_key not in self._unsure
        )
        return Verdict(
            runs=self._runs,
            calls=self._reported.total(),
            attempts=attempts,
            faulty=sum(api.faults_injected.values()),
            replies_lost=api.replies_lost,
            replays=api.replays,
            doubled=(effects - self._reported).total(),
            lost=(self._reported - effects).total(),
            given_up=self._given_up,
        )
