"""Deciphers a request: which writes and reads it asks for, and with which fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from prefactor_http.testing.resources.action import Action
from prefactor_http.testing.resources.response import (
    ApiError,
    JsonObject,
    bad_request,
    invalid_field,
)
from prefactor_http.testing.server.key_store import check_key
from prefactor_http.testing.server.routes import BULK_TYPES

_KEY = "idempotency_key"
_TYPE = "_type"
_SHORTEST_BULK_KEY = 8
_decode = msgspec.json.Decoder().decode


class _Items(msgspec.Struct):
    items: list[msgspec.Raw]


_decode_items = msgspec.json.Decoder(_Items).decode


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do: all of a single call, or one item of a bulk call.

    Attributes:
        action: What to do; a refusal where the API knows no such action.
        fields: Its fields, the id of its path among them, without the key.
        key: Its idempotency key.
        raw: The bytes it came as, which are the same on each attempt.
        flat: Whether a bulk item's fields stood where ``details`` should.
    """

    action: Action | ApiError
    fields: JsonObject
    key: str | None
    raw: bytes
    flat: bool = False


def single(
    action: Action, resource_id: str | None, query: Iterable[tuple[str, str]], body: bytes
) -> Work:
    """Decipher a single call.

    Raises:
        ApiError: The body is not a JSON object, or its key is not allowed.
    """
    if action.writes:
        fields = _body_fields(body)
        key = check_key(fields.pop(_KEY, None))
    else:
        fields, key = _query_fields(query), None
    if action.id_field is not None:
        # The path names the resource, whatever the body says.
        fields[action.id_field] = resource_id
    return Work(action, fields, key, body)


def bulk(body: bytes, *, longest_key: int) -> list[Work]:
    """Decipher a bulk call.

    Raises:
        ApiError: There are no items, an item is not an object, or a key is missing, not allowed
            or there twice. Nothing of the request is run then.
    """
    try:
        items = _decode_items(body).items
    except msgspec.DecodeError as error:
        raise bad_request(f"The body has no list of items: {error}.") from None
    if not items:
        raise invalid_field("items", "must have at least one item")
    works = [_item(bytes(item), longest_key) for item in items]
    keys = [work.key for work in works]
    if len(set(keys)) < len(keys):
        raise invalid_field(_KEY, "must be unique within the request")
    return works


def _item(raw: bytes, longest_key: int) -> Work:
    fields = _body_fields(raw)
    key = check_key(fields.pop(_KEY, None), shortest=_SHORTEST_BULK_KEY, longest=longest_key)
    if key is None:
        raise invalid_field(_KEY, "is required")
    name = fields.pop(_TYPE, None)
    if not isinstance(name, str):
        raise invalid_field(_TYPE, "is required")
    action = BULK_TYPES.get(name)
    if action is None:
        return Work(bad_request(f"There is no {name!r}."), fields, key, raw)
    flat = action.wraps and "details" not in fields
    if flat:
        ids = {name: fields.pop(name) for name in (action.id_field,) if name in fields}
        fields = {**ids, "details": fields}
    return Work(action, fields, key, raw, flat)


def _body_fields(body: bytes) -> JsonObject:
    if not body:
        return {}
    try:
        fields = _decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"The body is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise bad_request("The body is not a JSON object.")
    return cast("JsonObject", fields)


def _query_fields(query: Iterable[tuple[str, str]]) -> JsonObject:
    """Turn ``a[b]=c`` into nested fields."""
    fields: JsonObject = {}
    for name, value in query:
        outer, bracket, inner = name.partition("[")
        if bracket and inner.endswith("]"):
            nested: Any = fields.setdefault(outer, {})
            if isinstance(nested, dict):
                nested[inner[:-1]] = value
        else:
            fields[name] = value
    return fields
