"""What a batch knows of each of its items, from the first line to the last."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum

from msgspec import Struct

from prefactor_http._batch_operation import BatchReply
from prefactor_http._bulk_item import ItemReader
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.bulk_output import BulkOutput, ReceivedOutput


class State(Enum):
    """How an item of a batch ended; exactly one holds."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """What became of one item of a batch.

    Attributes:
        index: Its position in the source, from 0.
        idempotency_key: Its key; None for a row that could not be sent.
        type: Its call, such as ``agent_instances/register``.
        state: How it ended.
        error: Why it is not ok.
        instance: The agent instance, for an item that is ok and whose call gives one.
        reply: The reply that told of it, where one did.
    """

    index: int
    idempotency_key: str | None
    type: str
    state: State
    error: Exception | None = None
    instance: AgentInstance | None = None
    reply: BatchReply | None = None

    @property
    def output(self) -> BulkOutput | None:
        """The API's output, where there is one."""
        key = self.idempotency_key
        if self.reply is None or key is None:
            return None
        return ReceivedOutput(self.reply.outputs[key], ItemReader(key, self.type))

    @property
    def ok(self) -> bool:
        """Whether it took effect."""
        return self.state is State.OK

    @property
    def failed(self) -> bool:
        """Whether it was refused, or never sent."""
        return self.state is State.FAILED

    @property
    def unknown(self) -> bool:
        """Whether it may have taken effect: send it again with the same key to find out."""
        return self.state is State.UNKNOWN

    @property
    def blocked(self) -> bool:
        """Whether it was not sent because an earlier item of its group did not succeed."""
        return self.state is State.BLOCKED


class Entry(Struct, eq=False, gc=False):
    """An item under way.

    Attributes:
        index: Its position in the source.
        key: Its idempotency key; empty where it could not be made.
        type: Its call, such as ``agent_instances/register``.
        body: The item as it goes out, encoded once, without what follows.
        shared: The end of the item, the same bytes object for all items that share it.
        group: Items of one group keep their order; None for none.
        tries: How often it met with a transient error, or was missing from a reply.
        since: When that happened first.
        is_unknown: Whether a request that held it may have been carried out, unheard.
        refusal: Why it cannot be sent, where it cannot.
        id: Id of the resource that the item names or creates; None where it names none.
        external_identifier: The external identifier that the item sends; None where it sends none.
        agent_instance_id: Instance of the span that the item creates.
    """

    index: int
    key: str
    type: str
    body: bytes
    shared: bytes = b""
    group: Hashable | None = None
    tries: int = 0
    since: float | None = None
    is_unknown: bool = False
    refusal: Exception | None = None
    id: str | None = None
    external_identifier: str | None = None
    agent_instance_id: str | None = None

    def is_tired(self, now: float, patience: float) -> bool:
        """Count a transient error; tell whether there were such for that many seconds."""
        self.tries += 1
        if self.since is None:
            self.since = now
        return now - self.since >= patience

    def ended(self, state: State, error: Exception | None) -> Outcome:
        """Make the outcome of an item that the API gave no output for."""
        return Outcome(
            index=self.index,
            idempotency_key=self.key or None,
            type=self.type,
            state=state,
            error=error,
        )

    def failed(self, error: Exception | None) -> Outcome:
        """Make the outcome of an item that was refused; it may have taken effect all the same."""
        return self.ended(State.UNKNOWN if self.is_unknown else State.FAILED, error)


class Chunk(Struct, eq=False):
    """Items that travel in one request, and the request: the same bytes whenever it is repeated.

    Attributes:
        entries: The items, in order.
        body: The request.
        groups: The groups that have an item in it.
    """

    entries: list[Entry]
    body: bytes
    groups: set[Hashable]
