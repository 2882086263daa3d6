"""Puts together what the client saw of an attempt and what the server says that it did."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from prefactor_http import Attempt
from prefactor_http.testing import FaultKind, LocalPrefactor


class Outcome(Enum):
    """What became of an attempt."""

    DONE = "took effect"
    REPLY_LOST = "reply lost"
    REPLAYED = "replayed"
    NOT_DONE = "not done"


class Sighting(Struct, frozen=True, kw_only=True):
    """One attempt, seen from both ends.

    Attributes:
        agent: Name of the agent that called.
        verb: ``register``, ``start`` or ``finish``.
        number: 1 for the call's first attempt.
        outcome: What became of it.
        fault: What the server did wrong on purpose, or None.
        status: HTTP status that the client got, or None where no reply came.
        error: What the client saw, or None on success.
    """

    agent: str
    verb: str
    number: int
    outcome: Outcome
    fault: str | None
    status: int | None
    error: str | None

    @property
    def is_success(self) -> bool:
        """Whether the client had its answer."""
        return self.error is None


# The server turns these away before it looks at what they ask for.
_NOTHING_DONE = frozenset(
    {
        FaultKind.RESET_BEFORE_READING,
        FaultKind.RATE_LIMITED,
        FaultKind.UNAVAILABLE,
        FaultKind.BAD_GATEWAY,
        FaultKind.GATEWAY_TIMEOUT,
    }
)


class Witness:
    """Looks at the server's records when the client reports an attempt.

    Args:
        api: The server.
    """

    def __init__(self, api: LocalPrefactor) -> None:
        self._api = api
        self._claimed: set[int] = set()
        self._unanswered: set[str] = set()
        self.attempts: int = 0

    def look(self, agent: str, attempt: Attempt) -> Sighting:
        """Tell what became of an attempt.

        Args:
            agent: Who called.
            attempt: What the client saw.

        Returns:
            Both sides of it.
        """
        self.attempts += 1
        fault = self._fault(attempt)
        return Sighting(
            agent=agent,
            verb=attempt.operation.rpartition(".")[2],
            number=attempt.number,
            outcome=self._outcome(attempt, fault),
            fault=None if fault is None else str(fault),
            status=attempt.status,
            error=attempt.error,
        )

    def _outcome(self, attempt: Attempt, fault: FaultKind | None) -> Outcome:
        key = attempt.idempotency_key or ""
        if attempt.error is None:
            return Outcome.REPLAYED if key in self._unanswered else Outcome.DONE
        if fault in _NOTHING_DONE or not self._took_effect(key):
            return Outcome.NOT_DONE
        self._unanswered.add(key)
        return Outcome.REPLY_LOST

    def _took_effect(self, key: str) -> bool:
        return any(effect.idempotency_key == key for effect in self._api.effects)

    def _fault(self, attempt: Attempt) -> FaultKind | None:
        """Find the attempt among the server's records."""
        position = self._position(attempt)
        if position is None:
            return None  # it never reached the server
        self._claimed.add(position)
        return self._api.requests[position].fault

    def _position(self, attempt: Attempt) -> int | None:
        records = self._api.requests
        anonymous: int | None = None
        for position in range(len(records) - 1, -1, -1):
            record = records[position]
            if position in self._claimed or record.path != attempt.path:
                continue
            if record.idempotency_key == attempt.idempotency_key:
                return position
            if record.fault is FaultKind.RESET_BEFORE_READING:
                anonymous = position  # reset before its key was read: any of them will do
        return anonymous if attempt.status is None else None
