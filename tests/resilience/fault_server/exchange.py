"""One request and its response, as faults see them."""

from __future__ import annotations

import asyncio
import copy
import random
from dataclasses import dataclass, field
from typing import Any

from fault_server import http1
from fault_server.api import (
    CREATE_SPAN,
    GET_INSTANCE,
    GET_SPAN,
    REGISTER,
    WRITES,
    Answer,
    Api,
    Json,
)
from fault_server.bulk import Instead, Item, execute

BULK = "bulk"


def names_a_resource(operation: str, fields: Json) -> bool:
    """Whether a call identifies its resource; a register may not."""
    if operation == REGISTER:
        return "id" in fields or bool(fields.get("external_identifier"))
    return operation in WRITES or operation in {GET_INSTANCE, GET_SPAN}


@dataclass
class Exchange:
    """A parsed request and its response.

    Attributes:
        operation: Such as ``agent_instances.start``; ``bulk`` for a bulk request.
        resource_id: The id in the path.
        fields: The body of a write; the query of a list.
        items: The items of a bulk request.
        last: The last successful response on this connection.
        duplicate: A response to write again before the next one.
        is_applied: Whether the request was executed.
    """

    api: Api
    rng: random.Random
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    operation: str
    resource_id: str | None
    fields: Json
    items: list[Item]
    answer: Answer | None = None
    duplicate: bytes | None = None
    is_applied: bool = False
    instead: dict[str, Instead] = field(default_factory=dict)

    @property
    def is_write(self) -> bool:
        return self.operation in WRITES or self.operation == BULK

    @property
    def names_a_resource(self) -> bool:
        """Whether a response about another resource can be detected."""
        if self.operation == BULK:
            return all(names_a_resource(item.operation, item.fields) for item in self.items)
        return names_a_resource(self.operation, self.fields)

    @property
    def named_keys(self) -> set[str]:
        """The keys of the items whose output can be told from that of any other item.

        That to a span without an id may be the output of another call on the same instance, and
        that to a register with a name only, the output of an instance without a name.
        """
        if {item.operation for item in self.items} == {REGISTER}:
            return {i.key for i in self.items if names_a_resource(i.operation, i.fields)}
        return {
            item.key
            for item in self.items
            if item.operation not in {REGISTER, CREATE_SPAN}
            or "id" in item.fields.get("details", item.fields)
        }

    def execute(self) -> Answer:
        """Execute the request, at most once."""
        if self.answer is None:
            self.is_applied = True
            if self.operation == BULK:
                self.answer = Answer(200, execute(self.api, self.items, self.instead), "bulk")
            else:
                self.answer = self.api.call(self.operation, self.resource_id, self.fields)
        return self.answer

    def copy_of_body(self) -> Json:
        """Return a copy of the response body that a fault may change."""
        return copy.deepcopy(self.execute().body)

    def send(self, status: int, body: object = b"", **headers: object) -> None:
        """Write a response."""
        self.writer.write(http1.response(status, body, **headers))

    def send_answer(self, **headers: object) -> bytes:
        """Write the API's response and return its bytes."""
        answer = self.execute()
        written = http1.response(answer.status, answer.body, **headers)
        self.writer.write(written)
        return written

    def encoded(self) -> bytes:
        """Encode the API's response."""
        answer = self.execute()
        return http1.response(answer.status, answer.body)

    async def wait_for_client(self) -> None:
        """Wait until the client closes the connection."""
        await self.writer.drain()
        while await self.reader.read(65536):
            pass

    def pick(self, *options: Any) -> Any:
        return self.rng.choice(options)
