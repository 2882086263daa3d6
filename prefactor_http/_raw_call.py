"""A call by verb and path, for what has no method of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from prefactor_http._operation import PREFIX, RawOperation
from prefactor_http._wire import GET, Call, encode

_METHODS = (GET, "POST", "PUT", "PATCH", "DELETE")
_PATH = r"/(?!/)[^\s#]*"
_STEP = r"/\.\.?(?=[/?]|$)"
_KEY_FIELD = "idempotency_key"
_BULK_PATH = f"{PREFIX}/bulk"


def raw_call(
    method: str,
    path: str,
    params: Mapping[str, Any] | None,
    json_data: Mapping[str, Any] | None,
    idempotency_key: str | None,
    make_key: Callable[[str | None], str],
) -> Call[dict[str, Any]]:
    """Build a call by verb and path; a write gets a key if it has none (contract §10).

    Args:
        method: HTTP verb.
        path: Path from the root.
        params: Query parameters.
        json_data: Body of a write.
        idempotency_key: The caller's key.
        make_key: Checks a key, or makes one for None.

    Returns:
        The call.

    Raises:
        ValueError: The path is not one, a GET has a body or key, or two keys differ.
    """
    method = method.upper()
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    if not re.fullmatch(_PATH, path) or re.search(_STEP, path):
        raise ValueError(
            f"path must start with one slash and hold no spaces, fragment or steps such as /../; "
            f"got {path!r}"
        )
    operation = RawOperation(f"request {method} {path}", method, path)
    call = Call(operation, path)
    if params:
        call.params = {
            name: _as_query(value) for name, value in params.items() if value is not None
        }
    if method == GET:
        if json_data is not None or idempotency_key is not None:
            raise ValueError("a GET has no body, and needs no idempotency key")
        return call
    body = dict(json_data or {})
    own = body.get(_KEY_FIELD)
    if own is not None and idempotency_key not in {None, own}:
        raise ValueError("idempotency_key differs from the one in json_data")
    call.key = make_key(own if idempotency_key is None else idempotency_key)
    call.headers = {"Idempotency-Key": call.key}
    if path.partition("?")[0].rstrip("/") != _BULK_PATH:  # there every item has its own
        body[_KEY_FIELD] = call.key
    call.body = encode(operation, body)
    return call


def _as_query(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
