"""Combines what the client and the server know of an attempt."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from prefactor_http import Attempt
from prefactor_http.testing import FaultKind, LocalPrefactor


class AttemptOutcome(Enum):
    DONE = "applied"
    RESPONSE_LOST = "response lost"
    REPLAYED = "replayed"
    NOT_DONE = "not applied"


class AttemptView(Struct, frozen=True, kw_only=True):
    """An attempt, as the client and the server saw it.

    Attributes:
        agent: Name of the agent.
        verb: ``register``, ``start`` or ``finish``.
        number: 1 for the call's first attempt.
        outcome: What happened on the server.
        fault: The fault that the server injected; None if there was none.
        status: HTTP status that the client received; None if there was no response.
        error: The client's error; None on success.
    """

    agent: str
    verb: str
    number: int
    outcome: AttemptOutcome
    fault: str | None
    status: int | None
    error: str | None

    @property
    def is_success(self) -> bool:
        return self.error is None


# The server injects these faults before it handles the request.
_NOT_HANDLED = frozenset(
    {
        FaultKind.RESET_BEFORE_READING,
        FaultKind.RATE_LIMITED,
        FaultKind.UNAVAILABLE,
        FaultKind.BAD_GATEWAY,
        FaultKind.GATEWAY_TIMEOUT,
    }
)


class AttemptTracker:
    """Looks up the server's record of each attempt that the client reports.

    Args:
        api: The server.
    """

    def __init__(self, api: LocalPrefactor) -> None:
        self._api = api
        self._claimed: set[int] = set()
        self._unanswered: set[str] = set()
        self.attempts: int = 0

    def describe(self, agent: str, attempt: Attempt) -> AttemptView:
        """Return an attempt of an agent as both sides saw it."""
        self.attempts += 1
        fault = self._fault(attempt)
        return AttemptView(
            agent=agent,
            verb=attempt.operation.rpartition(".")[2],
            number=attempt.number,
            outcome=self._outcome(attempt, fault),
            fault=None if fault is None else str(fault),
            status=attempt.status,
            error=attempt.error,
        )

    def _outcome(self, attempt: Attempt, fault: FaultKind | None) -> AttemptOutcome:
        key = attempt.idempotency_key or ""
        if attempt.error is None:
            return AttemptOutcome.REPLAYED if key in self._unanswered else AttemptOutcome.DONE
        if fault in _NOT_HANDLED or not self._was_applied(key):
            return AttemptOutcome.NOT_DONE
        self._unanswered.add(key)
        return AttemptOutcome.RESPONSE_LOST

    def _was_applied(self, key: str) -> bool:
        return any(effect.idempotency_key == key for effect in self._api.effects)

    def _fault(self, attempt: Attempt) -> FaultKind | None:
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
                anonymous = position  # reset before its key was read; any such record will do
        return anonymous if attempt.status is None else None
