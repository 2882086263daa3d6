"""Detects responses to creates that may belong to another call, by the ids in earlier responses.

If a register sends neither an id nor a name, or its response contains no name, the client cannot
check that the response belongs to the call. A late duplicate of an earlier response would look like
the right one. But the client has seen the id in it before, in the response to another call.

Such a response is suspect, but not an error: mocks and test servers return the same resource for
every call. The call is repeated once, also without retries, with the same key and on a new
connection, where no late response can arrive. The second response is accepted. After a server has
repeated a known resource a few times in a row, the check is disabled.

A late duplicate also shifts the responses on its connection by one: the next request reads the
response to the request before it. Error responses name no resource, and the response to a create
may arrive before the client knows its id. So for some time after a response to another call, errors
and creates that cannot be checked are confirmed on a new connection.
"""

from __future__ import annotations

import math

_CAPACITY = 10_000
_MAX_CONFIRMATIONS = 3
_SUSPECT_SECONDS = 30.0  # longer than a pooled connection stays idle


class SeenResources:
    """Ids of resources in recent responses, each with the idempotency key of its call.

    Args:
        capacity: Maximum number of ids. The oldest half is dropped when it is reached.

    Attributes:
        is_enabled: False once the server has repeated known resources a few times in a row.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._half = capacity // 2
        # Two plain dicts, because entries of an OrderedDict are expensive to add and drop.
        self._recent: dict[str, str | None] = {}
        self._older: dict[str, str | None] = {}
        self._confirmations = 0
        self._suspect_until = -math.inf
        self.is_enabled: bool = True

    def add(self, resource_id: str, key: str | None) -> bool:
        """Record that the response to a call was about this resource.

        Returns:
            Whether it is new, or known from a call with the same key.
        """
        recent = self._recent
        # An id keeps the key of the first call that it was seen with.
        if self._older.get(resource_id, key) != key or recent.setdefault(resource_id, key) != key:
            return False
        if len(recent) >= self._half:
            self._older, self._recent = recent, {}
        return True

    def is_known(self, resource_id: str, key: str | None) -> bool:
        """Whether the response to a call with the same key was about this resource."""
        return key is not None and key == self._older.get(
            resource_id, self._recent.get(resource_id)
        )

    def is_suspect(self, resource_id: str, key: str | None) -> bool:
        """Whether a create with this key is unlikely to have created this resource."""
        known = self._older.get(resource_id, self._recent.get(resource_id, key))
        return known != key

    @property
    def has_suspect_connections(self) -> bool:
        """Whether a response to another call has ever arrived: known without asking the clock."""
        return self._suspect_until != -math.inf

    def suspect_connections(self, now: float) -> None:
        """Record that a response to another call has arrived."""
        self._suspect_until = now + _SUSPECT_SECONDS

    def are_connections_suspect(self, now: float) -> bool:
        """Whether a pooled connection may still deliver the response to another call."""
        return now < self._suspect_until

    def record_repeat(self, resource_id: str, key: str | None) -> None:
        """Record the second response to a call whose first one was suspect."""
        self._confirmations = self._confirmations + 1 if self.is_suspect(resource_id, key) else 0
        if self._confirmations == _MAX_CONFIRMATIONS:
            self.is_enabled = False
            self._recent, self._older = {}, {}
