"""The outcome of each item of a batch, and what the batch keeps of an item until then."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from enum import Enum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from prefactor_http._bulk.output import ItemReader, describe_item_error
from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.bulk_output import BulkOutput, ReceivedOutput

E = TypeVar("E", bound=PrefactorHttpError)

_encode = msgspec.json.Encoder().encode


class State(Enum):
    """How an item of a batch ended."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"


class Outcome(Struct, frozen=True, kw_only=True):
    """The outcome of one item of a batch.

    Attributes:
        index: Position of the item in the source, from 0.
        idempotency_key: Its key; None for a row that could not be sent.
        type: Its call, such as ``agent_instances/register``.
        state: How it ended.
        error: Why it is not ok.
        instance: The agent instance, for an item that is ok and whose call returns one.
        raw: The API's output for this item, as JSON; None where there was none, and for rows of
            ``register_many`` that are ok.
    """

    index: int
    idempotency_key: str | None
    type: str
    state: State
    error: Exception | None = None
    instance: AgentInstance | None = None
    raw: bytes | None = None

    @property
    def output(self) -> BulkOutput | None:
        """The API's output for this item, if there was one.

        The output of a row of ``register_many`` that is ok is made from ``instance``: an outcome
        that is kept does not keep the response to its whole request.
        """
        raw, key = self.raw, self.idempotency_key
        if raw is None and self.instance is not None:
            raw = b'{"status":"success","details":%b}' % _encode(self.instance)
        if raw is None or key is None:
            return None
        return ReceivedOutput(raw, ItemReader(key, self.type))

    @property
    def ok(self) -> bool:
        """Whether the item was applied."""
        return self.state is State.OK

    @property
    def failed(self) -> bool:
        """Whether the item was refused, or never sent."""
        return self.state is State.FAILED

    @property
    def unknown(self) -> bool:
        """Whether the item may have been applied: send it again with the same key to find out."""
        return self.state is State.UNKNOWN

    @property
    def blocked(self) -> bool:
        """Whether the item was not applied because an earlier one of its group did not succeed."""
        return self.state is State.BLOCKED


class History(Struct, eq=False):
    """What has happened to an item that was not applied at once.

    Attributes:
        attempts: Requests that contained the item and have not settled it.
        failures: Failed requests that contained the item and may have been its fault.
        failed_at: How many requests of the batch had succeeded when the first of them failed.
        last_failed_at: The same, of the last of them.
        failures_alone: Those of them that contained nothing else, while others succeeded.
        way: How the last of them failed, or how the item was last refused for the moment.
        same: How often in a row that was so.
        refusals: How often the API refused it for the moment.
        since: When it was first refused for the moment.
        unanswered: Responses that had no output for it, or that of another resource.
        outcome_unknown: Whether it may have been applied by an earlier request.
        is_settled: Whether it has an outcome other than ok.
    """

    attempts: int = 0
    failures: int = 0
    failed_at: int | None = None
    last_failed_at: int = 0
    failures_alone: int = 0
    way: Hashable = None
    same: int = 0
    refusals: int = 0
    since: float | None = None
    unanswered: int = 0
    outcome_unknown: bool = False
    is_settled: bool = False

    def note_way(self, way: Hashable) -> None:
        """Note how the item has failed now."""
        self.same = self.same + 1 if way == self.way else 1
        self.way = way


class Entry(Struct, eq=False):
    """An item of a batch that has no outcome yet.

    Attributes:
        index: Position in the source.
        key: Idempotency key; empty where it could not be made.
        type: Its call, such as ``agent_instances/register``.
        body: The item as it is sent, encoded once, without `shared`.
        shared: The end of the item: one bytes object for all items that share it.
        group: Items of one group keep their order; None for none.
        refusal: Why it cannot be sent, where it cannot.
        id: Id of the resource that the item names or creates; None where it names none.
        external_identifier: The external identifier that the item sends; None where it sends none.
        agent_instance_id: Instance of the span that the item creates.
        history: What has happened to it; None for most items, which are applied at once.
    """

    index: int
    key: str
    type: str
    body: bytes
    shared: bytes = b""
    group: Hashable | None = None
    refusal: Exception | None = None
    id: str | None = None
    external_identifier: str | None = None
    agent_instance_id: str | None = None
    history: History | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The item as JSON."""
        return msgspec.json.decode(self.body + self.shared, type=dict[str, Any])

    @property
    def past(self) -> History:
        """What has happened to the item."""
        if self.history is None:
            self.history = History()
        return self.history

    @property
    def failures(self) -> int:
        """Failed requests that contained the item and may have been its fault."""
        return 0 if self.history is None else self.history.failures

    def outcome(self, state: State, error: Exception, raw: bytes | None = None) -> Outcome:
        """Make the outcome of an item that is not ok."""
        return Outcome(
            index=self.index,
            idempotency_key=self.key or None,
            type=self.type,
            state=state,
            error=error,
            raw=raw,
        )

    def own(self, error: E) -> E:
        """Copy an error that concerns several items, and describe this item in the copy."""
        own = copy.copy(error)
        own.__cause__ = error.__cause__
        return self.describe(own)

    def describe(self, error: E) -> E:
        """Set on an error what callers of a direct call would find there."""
        past = self.past
        describe_item_error(
            error, self.key or None, past.attempts, outcome_unknown=past.outcome_unknown
        )
        return error
