"""Encodes requests as JSON, once for all attempts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from prefactor_http._http.json_paths import check_nulls, explain, set_fields
from prefactor_http._http.operation import Operation
from prefactor_http._values.plain import plain

encode_json = msgspec.json.Encoder(enc_hook=plain).encode
# Sorts keys, fields of a Struct, and sets whose elements can be ordered.
encode_sorted = msgspec.json.Encoder(enc_hook=plain, order="sorted").encode

# What encoding may raise; `explain` finds the cause.
ENCODE_ERRORS = (TypeError, ValueError, RecursionError)


def has_null(data: bytes) -> bool:
    """Whether JSON contains ``null``, possibly inside a string."""
    # From the end, which is faster than `in`: `l` is more frequent in JSON than `n`.
    return data.rfind(b"null") >= 0


def encode(operation: Operation[Any], request: object) -> bytes:
    """Encode a request as JSON.

    NaN and infinity become null, because JSON has neither. A log line names the fields.

    Args:
        operation: The operation, for messages.
        request: A Struct or a dict; bytes are returned unchanged.

    Returns:
        The body.

    Raises:
        TypeError: A value cannot be encoded.
        ValueError: The request is nested too deep, contains itself or text that is not Unicode, or
            an id, a name or a timestamp is NaN.
    """
    if isinstance(request, bytes):
        return request
    try:
        body = encode_json(request)
        if has_null(body):
            check_nulls(operation.name, request)
    except ENCODE_ERRORS as exc:
        error = explain(exc, request)
    else:
        return body
    raise type(error)(f"{operation.name}: cannot encode the request as JSON: {error}")


def canonical(value: object) -> bytes:
    """Encode a value so that equal content gives equal bytes.

    The bytes do not depend on the order of keys or sets, on the hash seed of the process, or on
    whether fields are in a dict or in a Struct.
    """
    try:
        return encode_sorted(value)
    except TypeError:  # keys that are not str, or a set whose elements cannot be ordered
        return encode_sorted(_ordered(value))


def _ordered(value: Any) -> Any:
    """Convert keys to str, and sets to lists that are sorted by their encoded elements."""
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_key_text(key): _ordered(item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in cast("Iterable[object]", value)]
    if isinstance(value, (set, frozenset)):
        return [Raw(item) for item in sorted(map(canonical, cast("Iterable[object]", value)))]
    if isinstance(value, Struct):
        fields = set_fields(value, value.__struct_fields__)
        return {name: _ordered(item) for name, item in fields}
    return value


def _key_text(key: object) -> str:
    [text] = msgspec.json.decode(encode_json({key: None}), type=dict[str, None])
    return text
