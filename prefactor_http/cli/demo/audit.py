"""Compares what a client reports with the ledger of its server.

The server knows what was applied, but without keys it cannot know which call a write belongs to.
The demo can: the calls of an agent follow one another, and each agent has its own version.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from prefactor_http.testing import Effect, LocalPrefactor

REGISTER = "register"


class AttemptOutcome(Enum):
    """What an attempt did on the server, and what the client learned of it."""

    DONE = "applied"
    RESPONSE_LOST = "response lost"
    DOUBLED = "applied again"
    REPLAYED = "replayed"
    NOT_DONE = "not applied"
    REFUSED = "refused"


class Counts(Struct):
    """The result of one client.

    Attributes:
        planned: Writes that the agents' runs consist of.
        applied: Those that were applied at least once.
        doubled: Writes that were applied more often than once.
        lost: Planned writes that were not applied by the end of their run.
        misreported: Calls that failed, although their write was applied and the error did not say
            that it may have been.
    """

    planned: int = 0
    applied: int = 0
    doubled: int = 0
    lost: int = 0
    misreported: int = 0

    @property
    def is_correct(self) -> bool:
        """Whether every write was applied once, and no applied write was reported as failed."""
        return not (self.doubled or self.lost or self.misreported)


class CallAudit:
    """One call of an agent.

    Args:
        api: The server.
        verb: ``register``, ``start`` or ``finish``.
        agent_version: The agent's version.
        instance_id: The instance; None for a register.
    """

    def __init__(
        self, api: LocalPrefactor, verb: str, agent_version: str, instance_id: str | None
    ) -> None:
        self.verb: str = verb
        self._api = api
        self._action = f"agent_instances.{verb}"
        self._agent_version = agent_version
        self._instance_id = instance_id
        self._first = len(api.effects)
        self._seen = 0

    @property
    def times_applied(self) -> int:
        """How often the write was applied so far."""
        return sum(self._is_of_this_call(effect) for effect in self._api.effects[self._first :])

    def outcome(self, *, is_success: bool, is_refused: bool) -> AttemptOutcome:
        """Return what the latest attempt did."""
        before, self._seen = self._seen, self.times_applied
        if self._seen > before:
            if self._seen > 1:
                return AttemptOutcome.DOUBLED
            return AttemptOutcome.DONE if is_success else AttemptOutcome.RESPONSE_LOST
        if is_success:
            return AttemptOutcome.REPLAYED
        return AttemptOutcome.REFUSED if is_refused else AttemptOutcome.NOT_DONE

    def _is_of_this_call(self, effect: Effect) -> bool:
        if effect.action != self._action or effect.resource_id is None:
            return False
        if self._instance_id is not None:
            return effect.resource_id == self._instance_id
        version_id = self._api.instances[effect.resource_id]["agent_version_id"]
        version = self._api.agent_versions[version_id]
        return bool(version["external_identifier"] == self._agent_version)


class Audit:
    """Counts what one client did to its server.

    Args:
        api: The server.

    Attributes:
        counts: The counts so far.
    """

    def __init__(self, api: LocalPrefactor) -> None:
        self.counts: Counts = Counts()
        self._api = api

    def begin_call(self, verb: str, agent_version: str, instance_id: str | None) -> CallAudit:
        return CallAudit(self._api, verb, agent_version, instance_id)

    def end_call(self, call: CallAudit, *, has_failed: bool, outcome_unknown: bool) -> bool:
        """Count a call that returned or raised, and return whether it was applied."""
        times = call.times_applied
        self.counts.applied += times > 0
        self.counts.doubled += max(times - 1, 0)
        self.counts.misreported += times > 0 and has_failed and not outcome_unknown
        return times > 0

    def end_run(self, *, planned: int, applied: int) -> None:
        """Count the writes of a run.

        Args:
            planned: How many it consists of.
            applied: How many were applied.
        """
        self.counts.planned += planned
        self.counts.lost += planned - applied

    def end(self) -> None:
        """Count again, from the ledger alone: a write that belongs to no call is one too many."""
        self.counts.doubled = len(self._api.effects) - self.counts.applied
