"""The state of the one account that the server holds."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime

from prefactor_http import _pfid
from prefactor_http.testing.resources.fields import Fields, as_text
from prefactor_http.testing.resources.response import JsonObject, not_found

Table = dict[str, JsonObject]


class Account:
    """Resources by id, and what finds them by other means.

    Attributes:
        account_id: The account's id.
        partition: What all its ids share.
        close_spans_on_terminate: Whether terminating an instance cancels its open spans.
    """

    def __init__(self, seed: int, *, close_spans_on_terminate: bool = False) -> None:
        self._random = random.Random(seed)
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

    def new_id(self) -> str:
        """Make an id of this account; later ones sort after earlier ones."""
        now = time.time_ns() // 1_000_000
        last_time, last_random = self._last_id
        if now > last_time:
            # Half the range is left for counting on within the millisecond.
            self._last_id = (now, self._random.getrandbits(79))
        else:
            self._last_id = (last_time, last_random + 1)
        return _pfid.encode(self._last_id[0], self.partition, self._last_id[1])

    def new_secret(self) -> str:
        """Make the secret of an API token."""
        return f"local-{self._random.getrandbits(160):040x}"

    def id_for(self, fields: Fields, table: Table) -> str:
        """Return the id that the caller chose, or a new one."""
        chosen = fields.pfid("id", partition=self.partition)
        if chosen is None:
            return self.new_id()
        if chosen in table:
            fields.refuse("id", "has already been taken")
        return chosen

    def external_identifier(self, fields: Fields, scope: str) -> str | None:
        """Return the caller's own name for a resource; it must be free within the scope."""
        name = fields.text("external_identifier")
        if name is not None and (scope, name) in self.external_identifiers:
            fields.refuse("external_identifier", "has already been taken")
        return name

    def take_external_identifier(self, scope: str, resource: JsonObject) -> None:
        """Note the name of a new resource as taken."""
        if resource["external_identifier"] is not None:
            self.external_identifiers[scope, resource["external_identifier"]] = resource["id"]

    def free_external_identifier(self, scope: str, resource: JsonObject) -> None:
        """Free the name of a deleted resource."""
        self.external_identifiers.pop((scope, str(resource["external_identifier"])), None)

    def now(self) -> datetime:
        """Tell the time that resources are stamped with."""
        return datetime.now(UTC)

    def stamped(self, resource: JsonObject) -> JsonObject:
        """Return a new resource with the times of its making."""
        resource["inserted_at"] = resource["updated_at"] = as_text(self.now())
        return resource

    def touch(self, resource: JsonObject) -> None:
        """Move a resource's ``updated_at`` to now."""
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
