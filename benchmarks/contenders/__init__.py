"""The contenders: each module opens a client and yields its calls.

`open_calls(url, **settings)` is an async context manager that yields a `Calls`: functions by name
that make one call and return its result. Functions of single calls take no arguments; `bulk`,
`rows` and `lifecycle` do. A module does not import other contenders, because each runs in its own
environment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Calls = Mapping[str, Callable[..., Awaitable[Any]]]

REGISTER_PATH = "/api/v1/agent_instance/register"
SPANS_PATH = "/api/v1/agent_spans"
BULK_PATH = "/api/v1/bulk"
