"""An item of a batch from when it is added until it has an outcome."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from prefactor_http._bulk.outcome import Outcome, State
from prefactor_http._bulk.output import describe_item_error
from prefactor_http.exceptions import PrefactorHttpError

E = TypeVar("E", bound=PrefactorHttpError)


class ItemHistory(Struct, eq=False):
    """What has happened to an item that was not applied by its first request.

    Attributes:
        attempts: Requests that contained the item and left it without an outcome.
        failures: Failed requests that contained the item and may have failed because of it.
        first_failed_at: How many requests of the batch had succeeded at the first of them.
        last_failed_at: The same for the last of them.
        failures_alone: Those of them that contained only this item, while others succeeded.
        signature: How the last of them failed, or how the API last rejected the item.
        same_signature: How many times in a row it failed with that signature.
        rejections: How many times the API rejected it with a transient error.
        rejected_since: When the API first did so.
        unanswered: Responses without an output for it, or with that of another resource.
        outcome_unknown: Whether an earlier request may have applied it.
        has_outcome: Whether it has an outcome other than ok.
    """

    attempts: int = 0
    failures: int = 0
    first_failed_at: int | None = None
    last_failed_at: int = 0
    failures_alone: int = 0
    signature: Hashable = None
    same_signature: int = 0
    rejections: int = 0
    rejected_since: float | None = None
    unanswered: int = 0
    outcome_unknown: bool = False
    has_outcome: bool = False

    def record_signature(self, signature: Hashable) -> None:
        self.same_signature = self.same_signature + 1 if signature == self.signature else 1
        self.signature = signature


class BatchItem(Struct, eq=False):
    """An item of a batch that has no outcome yet.

    Attributes:
        index: Position in the source.
        key: Idempotency key; empty if none could be created.
        type: Its call, such as ``agent_instances/register``.
        body: The encoded item, without `shared`.
        shared: The end of the encoded item: one bytes object for all items that share it.
        group: Items of one group keep their order; None for no group.
        error: Why it cannot be sent; None if it can.
        id: Id of the resource that the item refers to or creates, if it has one.
        external_identifier: The external identifier that the item sends, if any.
        agent_instance_id: Instance of the span that the item creates.
        lane: Items of different lanes are not sent in one request.
        history_or_none: The history; None for most items, which their first request applies.
    """

    index: int
    key: str
    type: str
    body: bytes
    shared: bytes = b""
    group: Hashable | None = None
    error: Exception | None = None
    id: str | None = None
    external_identifier: str | None = None
    agent_instance_id: str | None = None
    lane: object = None
    history_or_none: ItemHistory | None = None

    def __repr__(self) -> str:
        # Error reporters show the local variables of each frame: no body.
        return f"<{type(self).__name__} {self.index}: {self.type}, key {self.key}>"

    @property
    def fields(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body + self.shared, type=dict[str, Any])

    @property
    def history(self) -> ItemHistory:
        """The history, created on first access."""
        if self.history_or_none is None:
            self.history_or_none = ItemHistory()
        return self.history_or_none

    @property
    def failures(self) -> int:
        """`ItemHistory.failures`, without creating a history."""
        return 0 if self.history_or_none is None else self.history_or_none.failures

    def outcome(self, state: State, error: Exception, raw: bytes | None = None) -> Outcome:
        """Build the outcome of an item that is not ok."""
        return Outcome(
            index=self.index,
            idempotency_key=self.key or None,
            type=self.type,
            state=state,
            error=error,
            raw=raw,
        )

    def copy_error(self, error: E) -> E:
        """Copy an error that concerns several items, and describe this item in the copy."""
        own = copy.copy(error)
        own.__cause__ = error.__cause__
        return self.describe(own)

    def describe(self, error: E) -> E:
        """Set the attributes that the error of a direct call would have."""
        history = self.history
        describe_item_error(
            error, self.key or None, history.attempts, outcome_unknown=history.outcome_unknown
        )
        return error
