"""Bulk requests: items are executed in order, each with its own key, until one fails (§9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fault_server.api import (
    CREATE_SPAN,
    FINISH,
    FINISH_SPAN,
    GET_INSTANCE,
    RECORD_QUALITY,
    REGISTER,
    START,
    TERMINATE,
    Answer,
    Api,
    Json,
)

MIN_KEY_LENGTH = 8
POISON = "poison"
_TYPES = {
    "agent_instances/register": (REGISTER, None),
    "agent_instances/start": (START, "agent_instance_id"),
    "agent_instances/finish": (FINISH, "agent_instance_id"),
    "agent_instances/terminate": (TERMINATE, "agent_instance_id"),
    "agent_instances/record_quality": (RECORD_QUALITY, "agent_instance_id"),
    "agent_instances/show": (GET_INSTANCE, "agent_instance_id"),
    "agent_spans/create": (CREATE_SPAN, None),
    "agent_spans/finish": (FINISH_SPAN, "agent_span_id"),
}


@dataclass(slots=True)
class Item:
    """One parsed item of a bulk request."""

    key: str
    operation: str
    resource_id: str | None
    fields: Json
    answer: Answer | None = field(default=None)

    @property
    def is_poison(self) -> bool:
        """Whether the item always makes the whole request fail."""
        details = self.fields.get("details") or {}
        marks = (self.fields.get("external_identifier"), (details.get("payload") or {}).get("mark"))
        return any(isinstance(mark, str) and POISON in mark for mark in marks)


def items_of(request: Any) -> list[Item] | None:
    """Parse the items, or return None if the request is invalid as a whole."""
    given = request.get("items") if isinstance(request, dict) else None
    if not isinstance(given, list) or not given:
        return None
    items: list[Item] = []
    for fields in given:
        key = fields.get("idempotency_key")
        operation, id_field = _TYPES.get(fields.get("_type"), ("", None))
        if not isinstance(key, str) or len(key) < MIN_KEY_LENGTH or not operation:
            return None
        body = {name: value for name, value in fields.items() if name not in {"_type", id_field}}
        items.append(Item(key, operation, fields.get(id_field), body))
    return items if len({item.key for item in items}) == len(items) else None


@dataclass(frozen=True, slots=True)
class Instead:
    """A response to an item that replaces the API's own.

    Attributes:
        answer: The response; None omits the item from the outputs.
        is_applied: Whether the item is executed.
    """

    answer: Answer | None
    is_applied: bool


def execute(api: Api, items: list[Item], instead: dict[str, Instead]) -> Json:
    """Execute items in order until one fails.

    Args:
        api: The API.
        items: The items. Each executed item gets its answer.
        instead: Replaced responses, by key.

    Returns:
        The body of the response.
    """
    outputs: Json = {}
    for item in items:
        other = instead.get(item.key)
        if other is None or other.is_applied:
            item.answer = api.call(item.operation, item.resource_id, item.fields)
        given = item.answer if other is None else other.answer
        if given is not None:
            outputs[item.key] = given.body
            if not given.ok:
                break
    return {"status": "success", "outputs": outputs}
