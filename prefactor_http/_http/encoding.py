"""Requests become JSON, once for all attempts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from prefactor_http._http.json_paths import check_nulls, explain, set_fields
from prefactor_http._http.operation import Operation
from prefactor_http._values import plain

encode_json = msgspec.json.Encoder(enc_hook=plain).encode
# Sorted by key, a Struct's fields too; a set is sorted as well, if its elements have an order.
encode_sorted = msgspec.json.Encoder(enc_hook=plain, order="sorted").encode

# What encoding raises; `explain` tells why.
ENCODE_ERRORS = (TypeError, ValueError, RecursionError)


def has_null(data: bytes) -> bool:
    """Tell whether JSON contains ``null``, perhaps in a text."""
    # From the end: a third of the time that `in` takes, for `n` is rarer than `l`.
    return data.rfind(b"null") >= 0


def encode(operation: Operation[Any], request: object) -> bytes:
    """Encode a request as JSON.

    NaN and infinity become null, as JSON has neither; a log line says where they are.

    Args:
        operation: The call, for messages.
        request: A Struct, or a dict; or bytes, which are JSON already.

    Returns:
        The body.

    Raises:
        TypeError: A value in it has no JSON form.
        ValueError: It is nested too deep, refers to itself, or has text that is not Unicode, or an
            id, a name or a timestamp in it is NaN.
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
    raise type(error)(f"{operation.name}: the request has no JSON form: {error}")


def canonical(value: object) -> bytes:
    """Encode a value such that equal content gives equal bytes.

    The bytes do not depend on the order of keys or of a set, on the process or its hash seed, nor
    on whether fields come in a dict or in a Struct.
    """
    try:
        return encode_sorted(value)
    except TypeError:  # keys that are no text, or elements of a set that have no order
        return encode_sorted(_ordered(value))


def _ordered(value: Any) -> Any:
    """Give keys as text, and sets as lists that are sorted as they are encoded."""
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
