"""Prepares a call by HTTP method and path, for operations without an endpoint method."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from urllib.parse import unquote
from uuid import UUID

from prefactor_http._http.codec import GET, PreparedRequest
from prefactor_http._http.encoding import encode
from prefactor_http._http.operation import PREFIX, RawOperation
from prefactor_http._values.plain import as_text, check_unicode, is_nan, iso, name_of, plain

_METHODS = (GET, "POST", "PUT", "PATCH", "DELETE")
_PATH = r"/(?!/)[^\s#]*"
# Some servers remove what follows a semicolon before they resolve dot segments.
_DOT_SEGMENT = r"[/\\]\.\.?(?:;[^/\\]*)?(?=[/\\]|$)"
_KEY_FIELD = "idempotency_key"
_BULK_PATH = f"{PREFIX}/bulk"


def prepare_raw_request(
    method: str,
    path: str,
    params: Mapping[str, Any] | None,
    json_data: Mapping[str, Any] | None,
    idempotency_key: str | None,
    make_key: Callable[[str | None], str],
) -> PreparedRequest[dict[str, Any]]:
    """Prepare a call by HTTP method and path. A write without a key gets one (contract §10).

    Args:
        method: HTTP method.
        path: Path from the root.
        params: Query parameters.
        json_data: Body of a write.
        idempotency_key: The caller's key.
        make_key: Validates a key, or generates one for None.

    Returns:
        The prepared call.

    Raises:
        TypeError: An argument has the wrong type, or a value in the body cannot be sent.
        ValueError: The method, path or a parameter is invalid, a GET has a body or key, or two
            keys differ.
    """
    method, path = _checked_method(method), _checked_path(path)
    operation = RawOperation(f"request {method} {path}", method, path)
    prepared = PreparedRequest(operation, path)
    if params is not None:
        prepared.params = _query(params)
    if method == GET:
        if json_data is not None or idempotency_key is not None:
            raise ValueError("a GET takes no json_data and no idempotency_key")
        return prepared
    if json_data is not None and not isinstance(json_data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] # as above
        raise TypeError(f"json_data must be a dict or None, not {type(json_data).__name__}")
    body = dict(json_data or {})
    own = body.get(_KEY_FIELD)
    if own is not None and idempotency_key is not None and own != idempotency_key:
        raise ValueError("idempotency_key differs from the one in json_data")
    prepared.key = make_key(own if idempotency_key is None else idempotency_key)
    prepared.headers = {"Idempotency-Key": prepared.key}
    if path.partition("?")[0].rstrip("/") != _BULK_PATH:  # there each item has its own key
        body[_KEY_FIELD] = prepared.key
    prepared.body = encode(operation, body)
    return prepared


def _checked_method(method: object) -> str:
    given = as_text(method)
    if given is None:
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    name = given.upper()
    if name not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {name!r}")
    return name


def _checked_path(path: object) -> str:
    given = as_text(path)
    if given is None:
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    check_unicode(given, "path")
    if not re.fullmatch(_PATH, given) or _has_dot_segments(given):
        raise ValueError(
            f"path must start with one slash and contain no spaces, fragment or dot segments such "
            f"as /../; got {given!r}"
        )
    return given


def _has_dot_segments(path: str) -> bool:
    """Whether a path contains dot segments, which servers resolve to another path.

    Dots, slashes and backslashes may be percent-encoded. They are decoded once, as servers do: a
    double-encoded dot (``%252e``) remains part of a name.
    """
    return re.search(_DOT_SEGMENT, unquote(path.partition("?")[0])) is not None


def _query(params: Mapping[str, Any]) -> dict[str, str | list[str]]:
    if not isinstance(params, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] # not every caller uses a type checker
        raise TypeError(f"params must be a dict or None, not {type(params).__name__}")
    query: dict[str, str | list[str]] = {}
    for key, value in params.items():
        name = as_text(key)
        if name is None:
            raise TypeError(f"the name of a query parameter must be a str, not {key!r:.60}")
        check_unicode(name, "the name of a query parameter")
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
            items = cast("Sequence[object]", value)
            query[name] = [_query_text(name, item) for item in items if item is not None]
        elif value is not None:
            query[name] = _query_text(name, value)
    return query


def _query_text(name: str, value: object) -> str:
    """Format a value as the API expects it in a query."""
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, (str, int, float, date, Decimal, UUID)):
        value = _scalar(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_nan(value) or (isinstance(value, float) and math.isinf(value)):
        raise ValueError(f"query parameter {name} must not be {value}")
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(
                f"query parameter {name} has no time zone: give it one, such as "
                "datetime.now(timezone.utc)"
            )
        # In UTC, because many servers decode the plus sign of an offset as a space.
        return iso(value.astimezone(UTC))
    text = str(plain(value))
    check_unicode(text, f"query parameter {name}")
    return text


def _scalar(name: str, value: object) -> str | int | float:
    """Convert a numpy scalar to a plain value."""
    try:
        scalar = None if value is None else plain(value)
    except TypeError:
        scalar = None
    if isinstance(scalar, (str, int, float)):
        return scalar
    raise TypeError(
        f"query parameter {name} must be text, a number, a bool, a date, an enum member, or a "
        f"list of those, not {name_of(type(value))}"
    )
