"""Remembers the agent instance of each open span.

The API documents no way to read a span by its id, but it lists the spans of an instance. To verify
whether a span was finished, the client needs the instance.
"""

from __future__ import annotations

from collections import OrderedDict

_CAPACITY = 10_000


class SpanInstances:
    """Instance ids by span id. Beyond its capacity the oldest entry is dropped."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._instances: OrderedDict[str, str] = OrderedDict()

    def remember(self, span_id: str, agent_instance_id: str) -> None:
        if len(self._instances) >= self._capacity:
            self._instances.popitem(last=False)
        self._instances[span_id] = agent_instance_id

    def get(self, span_id: str | None) -> str | None:
        """Return the instance id of a span, or None if it is unknown."""
        return None if span_id is None else self._instances.get(span_id)

    def forget(self, span_id: str) -> None:
        self._instances.pop(span_id, None)
