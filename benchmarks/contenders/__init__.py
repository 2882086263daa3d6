"""The contenders: each module opens a client and hands out its calls.

`open_calls(url)` is an async context manager that yields a `Calls`: by name, functions without
arguments that make one call and return what its caller would work with. A module imports nothing
of another contender, for each runs in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

Calls = Mapping[str, Callable[[], Awaitable[object]]]

REGISTER_PATH = "/api/v1/agent_instance/register"
SPANS_PATH = "/api/v1/agent_spans"
