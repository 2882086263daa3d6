"""The bulk request of a batch, whose response is decoded as a whole (contract §9)."""

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


class RegisterSuccess(Struct, frozen=True, gc=False, tag_field="status", tag="success"):
    """Output of a register that was applied."""

    details: AgentInstance


class RegisterError(Struct, frozen=True, gc=False, tag_field="status", tag="error"):
    """Output of a register that was refused; `ItemReader` reads the error itself."""


class _RegisterResponse(Struct):
    status: str
    outputs: dict[str, RegisterSuccess | RegisterError]


class BatchResponse:
    """The response to one request of a batch.

    Args:
        body: The raw response.
        registers: Outputs by key, decoded as those of registers; empty if they were not.
    """

    def __init__(
        self, body: bytes, registers: Mapping[str, RegisterSuccess | RegisterError]
    ) -> None:
        self._body = body
        self.registers = registers

    @cached_property
    def outputs(self) -> Mapping[str, Raw]:
        """Outputs by key, still encoded; extracted on first access."""
        return msgspec.json.decode(self._body, type=BulkReply).outputs


class BatchOperation(Operation[BatchResponse]):
    """A bulk request that a batch makes.

    Args:
        name: The client's name of it.
        method: HTTP verb.
        path: Path.
        only_registers: Whether all its items are registers. Their outputs are then decoded
            directly into instances. That is cheaper than extracting the bytes of each output first,
            as is done for other calls.
    """

    is_retried_elsewhere = True

    def __init__(self, name: str, method: str, path: str, *, only_registers: bool = False) -> None:
        # No single type describes the response: `decode` chooses one.
        super().__init__(name, method, path, cast("Any", BulkReply), carries_items=True)
        self._only_registers = only_registers

    @cached_property
    def _register_decoder(self) -> Decoder[_RegisterResponse]:
        return Decoder(_RegisterResponse)

    def decode(self, body: bytes) -> BatchResponse:
        if self._only_registers:
            # If one output breaks the contract, each output is decoded separately.
            with suppress(*DECODE_ERRORS):
                return BatchResponse(body, self._register_decoder.decode(body).outputs)
        response = BatchResponse(body, {})
        _ = response.outputs  # raises if there are none
        return response


STREAM = BatchOperation("bulk.stream", "POST", "/bulk")
REGISTER_MANY = BatchOperation(
    "agent_instances.register_many", "POST", "/bulk", only_registers=True
)
# What a client that batches calls sends. Its name is that of the API's operation.
BATCHED = BatchOperation("bulk.execute", "POST", "/bulk")
BATCHED_REGISTERS = BatchOperation("bulk.execute", "POST", "/bulk", only_registers=True)
