"""Parses requests: which actions a request invokes, with which fields and keys."""

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
from prefactor_http.testing.server.bulk_policy import BulkPolicy
from prefactor_http.testing.server.key_store import check_key
from prefactor_http.testing.server.routes import BULK_TYPES

_KEY = "idempotency_key"
_TYPE = "_type"
_MIN_BULK_KEY_LENGTH = 8
_decode = msgspec.json.Decoder().decode


class _Items(msgspec.Struct):
    items: list[msgspec.Raw]


_decode_items = msgspec.json.Decoder(_Items).decode


@dataclass(frozen=True, slots=True)
class Invocation:
    """One action to run: a single call, or one item of a bulk request.

    Attributes:
        action: The action, or the error to respond with if the API has no such action.
        fields: The fields without the key, with the id from the path.
        key: The idempotency key.
        raw: The bytes as received. Every attempt of a call must send the same bytes.
        flat: Whether a bulk item has its fields at the top level instead of in ``details``.
        in_bulk: Whether it is an item of a bulk request.
    """

    action: Action | ApiError
    fields: JsonObject
    key: str | None
    raw: bytes
    flat: bool = False
    in_bulk: bool = False


def parse_single(
    action: Action, resource_id: str | None, query: Iterable[tuple[str, str]], body: bytes
) -> Invocation:
    """Parse a single call.

    Raises:
        ApiError: The body is not a JSON object, or its key is invalid.
    """
    if action.writes:
        fields = _body_fields(body)
        key = check_key(fields.pop(_KEY, None))
    else:
        fields, key = _query_fields(query), None
    if action.id_field is not None:
        # The id in the path takes precedence over the body.
        fields[action.id_field] = resource_id
    return Invocation(action, fields, key, body)


def parse_bulk(body: bytes, *, policy: BulkPolicy, max_key_length: int) -> list[Invocation]:
    """Parse a bulk request.

    Raises:
        ApiError: There are no items or too many, an item is not an object, a key is missing,
            invalid or repeated, or a type is unknown and the policy refuses the request. No item
            of the request is run then.
    """
    try:
        items = _decode_items(body).items
    except msgspec.DecodeError as error:
        raise bad_request(f"The body has no list of items: {error}.") from None
    policy.check_size(items)
    invocations = [_parse_item(bytes(item), policy, max_key_length) for item in items]
    keys = [invocation.key for invocation in invocations]
    if len(set(keys)) < len(keys):
        raise invalid_field(_KEY, "must be unique within the request")
    return invocations


def _parse_item(raw: bytes, policy: BulkPolicy, max_key_length: int) -> Invocation:
    fields = _body_fields(raw)
    key = check_key(
        fields.pop(_KEY, None), min_length=_MIN_BULK_KEY_LENGTH, max_length=max_key_length
    )
    if key is None:
        raise invalid_field(_KEY, "is required")
    name = fields.pop(_TYPE, None)
    if not isinstance(name, str):
        raise invalid_field(_TYPE, "is required")
    action = None if name in policy.unknown_types else BULK_TYPES.get(name)
    if action is None:
        return Invocation(policy.unknown_type(name), fields, key, raw, in_bulk=True)
    flat = action.wraps and "details" not in fields
    if flat:
        ids = {name: fields.pop(name) for name in (action.id_field,) if name in fields}
        fields = {**ids, "details": fields}
    return Invocation(action, fields, key, raw, flat, in_bulk=True)


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
