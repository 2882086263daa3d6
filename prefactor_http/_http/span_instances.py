"""Remembers which instance each open span of this client belongs to.

The API has no documented way to read a span by its id, but it lists the spans of an instance. To
verify the outcome of a span's finish, its instance has to be known.
"""

from __future__ import annotations

from collections import OrderedDict

_CAPACITY = 10_000


class SpanInstances:
    """Instance ids by span id; the oldest entries are dropped beyond a fixed number."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._instances: OrderedDict[str, str] = OrderedDict()

    def remember(self, span_id: str, agent_instance_id: str) -> None:
        """Note the instance of a new span."""
        if len(self._instances) >= self._capacity:
            self._instances.popitem(last=False)
        self._instances[span_id] = agent_instance_id

    def get(self, span_id: str | None) -> str | None:
        """Return the instance of a span, or None where it is not known."""
        return None if span_id is None else self._instances.get(span_id)

    def forget(self, span_id: str) -> None:
        """Drop a span that has ended."""
        self._instances.pop(span_id, None)
