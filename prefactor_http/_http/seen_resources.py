"""Doubts a response to a create that may be the answer to another call.

The response to a register says nothing that the client could check if the call sent neither an id
nor a name, or if the response shows no name. A late duplicate of an earlier response then looks
like the answer. It gives itself away by the resource: the client has seen its id before, in the
answer to another call.

Such a response is not refused, since mocks and test servers answer every call with one resource.
The call is repeated once, with the same key and on a new connection, where no late response can
arrive. The second response is accepted, whatever it says. A server that answers with a known
resource again, a few times in a row, is not was_suspect any more.

A late duplicate also shifts its connection by one: the next request over it reads the response to
the one before. Refusals name no resource. For a while after a response to another call, a refusal
is therefore confirmed over a new connection before it is believed.
"""

from __future__ import annotations

import math
from collections import OrderedDict

_CAPACITY = 10_000
_MAX_CONFIRMATIONS = 3
_SUSPECT_SECONDS = 30.0  # longer than a pooled connection stays idle


class SeenResources:
    """The ids of resources in recent responses, each with the key of the call.

    Args:
        capacity: Number of ids; beyond it the oldest are dropped.

    Attributes:
        is_enabled: False once the server has answered with known resources all the time.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        # Not a dict, whose first entry is found slowly after many deletions.
        self._keys: OrderedDict[str, str | None] = OrderedDict()
        self._confirmations = 0
        self._suspect_until = -math.inf
        self.is_enabled: bool = True

    def add(self, resource_id: str, key: str | None) -> None:
        """Note that the response to a call was about this resource."""
        keys = self._keys
        if resource_id not in keys:
            if len(keys) >= self._capacity:
                keys.popitem(last=False)
            keys[resource_id] = key

    def is_suspect(self, resource_id: str, key: str | None) -> bool:
        """Whether a create with this key is unlikely to have created this resource."""
        return self._keys.get(resource_id, key) != key

    def suspect_connections(self, now: float) -> None:
        """Note that a response to another call has arrived."""
        self._suspect_until = now + _SUSPECT_SECONDS

    def are_connections_suspect(self, now: float) -> bool:
        """Whether a pooled connection may still deliver the response to another call."""
        return now < self._suspect_until

    def record_repeat(self, resource_id: str, key: str | None) -> None:
        """Note the answer to a was_suspect call that was repeated."""
        self._confirmations = self._confirmations + 1 if self.is_suspect(resource_id, key) else 0
        if self._confirmations == _MAX_CONFIRMATIONS:
            self.is_enabled = False
            self._keys.clear()
