"""The request of a batch: a bulk request whose reply is decoded at one go (contract §9)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from prefactor_http._http.codec import DECODE_ERRORS
from prefactor_http._http.operation import Operation
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.bulk import BulkReply


class Registered(Struct, frozen=True, gc=False, tag_field="status", tag="success"):
    """Output of a register that took effect."""

    details: AgentInstance


class Refused(Struct, frozen=True, gc=False, tag_field="status", tag="error"):
    """Output of a register that did not; what it says is read on its own."""


class _Registers(Struct):
    status: str
    outputs: dict[str, Registered | Refused]


class BatchReply:
    """What the API answered to one request of a batch.

    Args:
        body: The reply, as it came.
        registers: Its outputs by key, where they were read as those of registers.
    """

    def __init__(self, body: bytes, registers: Mapping[str, Registered | Refused]) -> None:
        self._body = body
        self.registers = registers

    @cached_property
    def outputs(self) -> Mapping[str, Raw]:
        """Its outputs by key, still encoded; found when first asked for."""
        return msgspec.json.decode(self._body, type=BulkReply).outputs


class BatchOperation(Operation[BatchReply]):
    """A bulk request that a batch makes.

    Args:
        name: The client's name of it.
        method: HTTP verb.
        path: Path.
        has_registers: Whether its items are registers and nothing else. Their outputs are then
            decoded together, straight into instances, for 1.1 µs each; to find each one's bytes
            first, as it is done for calls of any kind, takes 0.7 µs more.
    """

    is_retried_elsewhere = True

    def __init__(self, name: str, method: str, path: str, *, has_registers: bool = False) -> None:
        # No one type fits: `decode` knows what to make of a reply.
        super().__init__(name, method, path, cast("Any", BulkReply), carries_items=True)
        self._has_registers = has_registers

    @cached_property
    def _registers(self) -> Decoder[_Registers]:
        return Decoder(_Registers)

    def decode(self, body: bytes) -> BatchReply:
        """Read a successful reply."""
        if self._has_registers:
            # An output that breaks the contract must not spoil the others: each is read alone then.
            with suppress(*DECODE_ERRORS):
                return BatchReply(body, self._registers.decode(body).outputs)
        reply = BatchReply(body, {})
        _ = reply.outputs  # raises where there are none
        return reply


STREAM = BatchOperation("bulk.stream", "POST", "/bulk")
REGISTER_MANY = BatchOperation("agent_instances.register_many", "POST", "/bulk", has_registers=True)
