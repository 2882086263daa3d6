"""One request and the response to it, as a fault sees them."""

from __future__ import annotations

import asyncio
import copy
import random
from dataclasses import dataclass, field
from typing import Any

from fault_server import http1
from fault_server.api import GET_INSTANCE, GET_SPAN, REGISTER, WRITES, Answer, Api, Json
from fault_server.bulk import Instead, Item, carry_out

BULK = "bulk"


def names_a_resource(operation: str, fields: Json) -> bool:
    """Tell whether a call says which resource it is about; a register may leave that open."""
    if operation == REGISTER:
        return "id" in fields or bool(fields.get("external_identifier"))
    return operation in WRITES or operation in {GET_INSTANCE, GET_SPAN}


@dataclass
class Exchange:
    """A request that was read, and what it is answered with.

    Attributes:
        operation: Such as ``agent_instances.start``; ``bulk`` for a bulk request.
        resource_id: The id in the path.
        fields: The body of a write; the query of a list.
        items: The items of a bulk request.
        last: The last successful response on this connection.
        owed: A response that is written once more before the next one.
        is_applied: Whether the request was carried out.
    """

    api: Api
    dice: random.Random
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    operation: str
    resource_id: str | None
    fields: Json
    items: list[Item]
    answer: Answer | None = None
    owed: bytes | None = None
    is_applied: bool = False
    instead: dict[str, Instead] = field(default_factory=dict)

    @property
    def is_write(self) -> bool:
        return self.operation in WRITES or self.operation == BULK

    @property
    def names_a_resource(self) -> bool:
        """Whether a response about another resource can be told from the right one."""
        if self.operation == BULK:
            return all(names_a_resource(item.operation, item.fields) for item in self.items)
        return names_a_resource(self.operation, self.fields)

    def carry_out(self) -> Answer:
        """Let the API do it, once."""
        if self.answer is None:
            self.is_applied = True
            if self.operation == BULK:
                self.answer = Answer(200, carry_out(self.api, self.items, self.instead), "bulk")
            else:
                self.answer = self.api.call(self.operation, self.resource_id, self.fields)
        return self.answer

    def copy_of_body(self) -> Json:
        """Give a copy of the API's answer that a fault may change."""
        return copy.deepcopy(self.carry_out().body)

    def send(self, status: int, body: object = b"", **headers: object) -> None:
        """Write a response."""
        self.writer.write(http1.response(status, body, **headers))

    def send_answer(self, **headers: object) -> bytes:
        """Write what the API says; give the bytes."""
        answer = self.carry_out()
        written = http1.response(answer.status, answer.body, **headers)
        self.writer.write(written)
        return written

    def encoded(self) -> bytes:
        """Encode what the API says, as a whole response."""
        answer = self.carry_out()
        return http1.response(answer.status, answer.body)

    async def wait_for_client(self) -> None:
        """Wait until the client closes the connection."""
        await self.writer.drain()
        while await self.reader.read(65536):
            pass

    def pick(self, *options: Any) -> Any:
        return self.dice.choice(options)
