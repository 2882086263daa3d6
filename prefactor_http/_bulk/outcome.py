"""The outcome of each item of a batch."""

from __future__ import annotations

from enum import Enum

import msgspec
from msgspec import Struct

from prefactor_http._bulk.output import ItemReader
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.bulk_output import BulkOutput, ReceivedOutput

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
        raw: The API's output for this item, as JSON; None if there was none, and for rows of
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

        For a row of ``register_many`` that is ok, the output is rebuilt from ``instance``, so that
        an outcome that you keep does not keep the response to its whole request.
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
