"""The resources of the server's only account."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime

from prefactor_http import _pfid
from prefactor_http.testing.resources.fields import Fields, as_text
from prefactor_http.testing.resources.response import JsonObject, not_found

Table = dict[str, JsonObject]

# What exists from the start was created then, so that its ids depend on the seed alone.
_CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Account:
    """Resources by id, and indexes to find them.

    Attributes:
        account_id: The account's id.
        partition: The partition of all ids of the account (contract §4).
        close_spans_on_terminate: Whether terminating an instance cancels its open spans.
    """

    def __init__(self, seed: int, *, close_spans_on_terminate: bool = False) -> None:
        self._random = random.Random(seed)
        self._is_open = False
        self._last_id = (0, 0)
        self.close_spans_on_terminate = close_spans_on_terminate
        self.partition: int = self._random.getrandbits(30)
        self.accounts: Table = {}
        self.environments: Table = {}
        self.agents: Table = {}
        self.deployments: Table = {}
        self.api_tokens: Table = {}
        self.risk_profiles: Table = {}
        self.agent_versions: Table = {}
        self.schema_versions: Table = {}
        self.instances: Table = {}
        self.spans: Table = {}
        self.spans_of: dict[str, list[JsonObject]] = {}
        self.instances_of: Counter[str] = Counter()
        self.external_identifiers: dict[tuple[str, str], str] = {}
        self.account_id: str = self.new_id()
        self.accounts[self.account_id] = self.stamped(
            {"type": "account", "id": self.account_id, "name": "Local account"}
        )
        risk_profile_id = self.new_id()
        self.risk_profiles[risk_profile_id] = self.stamped(
            {
                "type": "risk_profile",
                "id": risk_profile_id,
                "account_id": self.account_id,
                "name": "Local risk profile",
                "description": None,
            }
        )

    def open(self) -> None:
        """Let time pass: what is created from now on has the current time."""
        self._is_open = True

    def new_id(self) -> str:
        """Return a new id. Ids sort in the order of their creation."""
        now = time.time_ns() // 1_000_000 if self._is_open else int(_CREATED_AT.timestamp() * 1000)
        last_time, last_random = self._last_id
        if now > last_time:
            # 79 of 80 bits: the other half of the range is for increments within the millisecond.
            self._last_id = (now, self._random.getrandbits(79))
        else:
            self._last_id = (last_time, last_random + 1)
        return _pfid.encode(self._last_id[0], self.partition, self._last_id[1])

    def new_secret(self) -> str:
        """Make the secret of an API token."""
        return f"local-{self._random.getrandbits(160):040x}"

    def id_for(self, fields: Fields, table: Table) -> str:
        """Return the id that the caller supplied, or a new one."""
        chosen = fields.pfid("id", partition=self.partition)
        if chosen is None:
            return self.new_id()
        if chosen in table:
            fields.refuse("id", "has already been taken")
        return chosen

    def external_identifier(self, fields: Fields, scope: str) -> str | None:
        """Return the caller's identifier of a resource, which must be unique within the scope."""
        name = fields.text("external_identifier")
        if name is not None and (scope, name) in self.external_identifiers:
            fields.refuse("external_identifier", "has already been taken")
        return name

    def take_external_identifier(self, scope: str, resource: JsonObject) -> None:
        """Reserve the external identifier of a new resource."""
        if resource["external_identifier"] is not None:
            self.external_identifiers[scope, resource["external_identifier"]] = resource["id"]

    def free_external_identifier(self, scope: str, resource: JsonObject) -> None:
        """Release the external identifier of a deleted resource."""
        self.external_identifiers.pop((scope, str(resource["external_identifier"])), None)

    def now(self) -> datetime:
        return datetime.now(UTC) if self._is_open else _CREATED_AT

    def stamped(self, resource: JsonObject) -> JsonObject:
        """Set the timestamps of a new resource and return it."""
        resource["inserted_at"] = resource["updated_at"] = as_text(self.now())
        return resource

    def touch(self, resource: JsonObject) -> None:
        """Set ``updated_at`` to the current time."""
        resource["updated_at"] = as_text(self.now())


def find(table: Table, resource_id: object, what: str) -> JsonObject:
    """Return a resource by id.

    Raises:
        ApiError: 404 ``not_found``.
    """
    resource = table.get(resource_id) if isinstance(resource_id, str) else None
    if resource is None:
        raise not_found(what)
    return resource
