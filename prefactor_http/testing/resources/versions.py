"""Agent versions and schema versions, found or created by content (contract §7.1)."""

from __future__ import annotations

from collections import Counter

import msgspec

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.fields import Fields
from prefactor_http.testing.resources.response import JsonObject, encode, invalid
from prefactor_http.testing.resources.schemas import check_agent_version, check_schema, span_types

_canonical = msgspec.json.Encoder(order="sorted").encode


class Version:
    """The agent version and the schema version of a registration.

    Attributes:
        agent_version: The details of the agent version.
        schema_version: The details of the schema version.
    """

    __slots__ = ("_encoded_refs", "_siblings", "agent_version", "schema_version")

    def __init__(self, agent_version: JsonObject, schema_version: JsonObject) -> None:
        self.agent_version: JsonObject = agent_version
        self.schema_version: JsonObject = schema_version
        self._encoded_refs: list[str] | None = None
        self._siblings: dict[str, object] = {}

    def siblings(self) -> dict[str, object]:
        """Return the keys beside ``details`` in a register response; cached while unchanged."""
        refs: list[str] = self.schema_version["current_agent_deployment_refs"]
        if self._encoded_refs != refs:
            self._encoded_refs = list(refs)
            self._siblings = {
                "agent_schema_version": msgspec.Raw(encode(self.schema_version)),
                "agent_version": msgspec.Raw(encode(self.agent_version)),
            }
        return self._siblings


class Versions:
    """Finds or creates the versions of a registration."""

    def __init__(self, account: Account, *, refuse_clashes: bool = False) -> None:
        self.refuse_clashes = refuse_clashes
        self._account = account
        # The same content may arrive as different bytes. Each form is validated once.
        self._by_bytes: dict[tuple[str, bytes, bytes], Version] = {}
        self._by_content: dict[tuple[str, bytes, bytes], Version] = {}
        self._schemas: dict[tuple[str, bytes], JsonObject] = {}
        self._repeats: Counter[tuple[str, str, str]] = Counter()

    def find_or_create(self, agent_id: str, fields: Fields) -> Version:
        """Return the version that a register request describes.

        Raises:
            ApiError: 422, the description is invalid.
        """
        agent_version = fields.required_mapping("agent_version")
        schema = fields.required_mapping("agent_schema_version")
        fields.check()
        as_received = (agent_id, encode(agent_version), encode(schema))
        version = self._by_bytes.get(as_received)
        if version is None:
            check_agent_version(fields.required_within("agent_version"))
            check_schema(fields.required_within("agent_schema_version"))
            fields.check()
            content = (agent_id, _canonical(agent_version), _canonical(schema))
            version = self._by_content.get(content)
            if version is None:
                version = self._create(agent_id, agent_version, schema)
                self._by_content[content] = version
            self._by_bytes[as_received] = version
        return version

    def _create(self, agent_id: str, agent_version: JsonObject, schema: JsonObject) -> Version:
        schema_row = self.find_or_create_schema(agent_id, schema)
        return Version(self.add(agent_id, agent_version, schema_row["id"]), schema_row)

    def find_or_create_schema(self, agent_id: str, schema: JsonObject) -> JsonObject:
        """Return the details of the schema version with this content."""
        row = self._schemas.get((agent_id, _canonical(schema)))
        return self._add_schema(agent_id, schema) if row is None else row

    def add(
        self, agent_id: str, fields: JsonObject, schema_version_id: str | None = None
    ) -> JsonObject:
        external_identifier = fields.get("external_identifier")
        row = self._account.stamped(
            {
                "type": "agent_version",
                "id": self._account.new_id(),
                "account_id": self._account.account_id,
                "agent_id": agent_id,
                "agent_schema_version_id": schema_version_id,
                "name": fields.get("name"),
                "description": fields.get("description"),
                "external_identifier": external_identifier,
                "external_identifier_repeats": self._count(
                    "agent_version", agent_id, external_identifier
                ),
                "runtime_environment": fields.get("runtime_environment"),
            }
        )
        self._account.agent_versions[row["id"]] = row
        return row

    def _add_schema(self, agent_id: str, schema: JsonObject) -> JsonObject:
        external_identifier = schema.get("external_identifier")
        row = self._account.stamped(
            {
                "type": "agent_schema_version",
                "id": self._account.new_id(),
                "account_id": self._account.account_id,
                "agent_id": agent_id,
                "external_identifier": external_identifier,
                "external_identifier_repeats": self._count(
                    "agent_schema_version", agent_id, external_identifier
                ),
                "current_agent_deployment_refs": [],
                "span_type_schemas": span_types(schema),
                "quality_schemas": schema.get("quality_schemas") or [],
            }
        )
        self._account.schema_versions[row["id"]] = row
        self._schemas[agent_id, _canonical(schema)] = row
        return row

    def _count(self, kind: str, agent_id: str, external_identifier: str | None) -> int:
        if external_identifier is None:
            return 0
        name = (kind, agent_id, external_identifier)
        repeats = self._repeats[name]
        if repeats and self.refuse_clashes:
            message = f"{external_identifier} already exists with different details"
            raise invalid({f"{kind}.external_identifier": [message]})
        self._repeats[name] += 1
        return repeats
