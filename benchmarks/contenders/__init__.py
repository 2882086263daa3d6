"""The contenders: each module opens a client and hands out its calls.

`open_calls(url, **settings)` is an async context manager that yields a `Calls`: by name,
functions that make one call and return what its caller would work with. Those of single calls
take no arguments; `bulk`, `rows` and `lifecycle` are told what to make. A module imports nothing
of another contender, for each runs in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Calls = Mapping[str, Callable[..., Awaitable[Any]]]

REGISTER_PATH = "/api/v1/agent_instance/register"
SPANS_PATH = "/api/v1/agent_spans"
BULK_PATH = "/api/v1/bulk"
