"""Agent versions and schema versions, found or created by what they say (contract §7.1)."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import msgspec

from prefactor_http.testing._account import Account
from prefactor_http.testing._fields import Fields
from prefactor_http.testing._reply import JsonObject, encode, invalid

_RISK_LEVELS = {
    "action_profile": frozenset({"unknown", "allowed", "disallowed"}),
    "params_data_categories": frozenset({"unknown", "included", "excluded"}),
    "result_data_categories": frozenset({"unknown", "included", "excluded"}),
}
_CLASSIFICATIONS = frozenset(
    {"unknown", "public", "internal", "confidential", "restricted", "secret"}
)
_canonical = msgspec.json.Encoder(order="sorted").encode


class Version:
    """What a registration is tied to: a version of the agent with one of its schema.

    Attributes:
        agent_version: The agent version's details.
        schema_version: The schema version's details.
    """

    __slots__ = ("_shown_refs", "_siblings", "agent_version", "schema_version")

    def __init__(self, agent_version: JsonObject, schema_version: JsonObject) -> None:
        self.agent_version = agent_version
        self.schema_version = schema_version
        self._shown_refs: list[str] | None = None
        self._siblings: dict[str, object] = {}

    def siblings(self) -> dict[str, object]:
        """Return what a register reply shows beside the instance, encoded once."""
        if self._shown_refs != self._refs:
            self._shown_refs = list(self._refs)
            self._siblings = {
                "agent_schema_version": msgspec.Raw(encode(self.schema_version)),
                "agent_version": msgspec.Raw(encode(self.agent_version)),
            }
        return self._siblings

    def take(self, deployment_id: str) -> None:
        """Note that a deployment runs this version now."""
        self._refs.append(deployment_id)

    def release(self, deployment_id: str) -> None:
        """Note that a deployment no longer runs this version."""
        self._refs.remove(deployment_id)

    @property
    def _refs(self) -> list[str]:
        refs: list[str] = self.schema_version["current_agent_deployment_refs"]
        return refs


class Versions:
    """Finds a registration's version, or makes it."""

    def __init__(self, account: Account, *, refuse_clashes: bool = False) -> None:
        self.refuse_clashes = refuse_clashes
        self._account = account
        # The same content may be spelt in many ways; each spelling is looked at once.
        self._by_spelling: dict[tuple[str, bytes, bytes], Version] = {}
        self._by_content: dict[tuple[str, bytes, bytes], Version] = {}
        self._schemas: dict[tuple[str, bytes], JsonObject] = {}
        self._repeats: Counter[tuple[str, str, str]] = Counter()

    def find_or_create(self, agent_id: str, fields: Fields) -> Version:
        """Return the version that a register request describes.

        Raises:
            ApiError: 422, the description is wrong.
        """
        agent_version = fields.mapping("agent_version", required=True)
        schema = fields.mapping("agent_schema_version", required=True)
        fields.check()
        assert agent_version is not None
        assert schema is not None
        spelling = (agent_id, encode(agent_version), encode(schema))
        version = self._by_spelling.get(spelling)
        if version is None:
            check_agent_version(fields)
            check_schema(cast("Fields", fields.within("agent_schema_version")))
            fields.check()
            content = (agent_id, _canonical(agent_version), _canonical(schema))
            version = self._by_content.get(content)
            if version is None:
                version = self._create(agent_id, agent_version, schema)
                self._by_content[content] = version
            self._by_spelling[spelling] = version
        return version

    def _create(self, agent_id: str, agent_version: JsonObject, schema: JsonObject) -> Version:
        schema_row = self._schemas.get((agent_id, _canonical(schema)))
        if schema_row is None:
            schema_row = self.add_schema(agent_id, schema)
        return Version(self.add_agent_version(agent_id, agent_version, schema_row), schema_row)

    def add_agent_version(
        self, agent_id: str, fields: JsonObject, schema_row: JsonObject | None
    ) -> JsonObject:
        """Add an agent version and return its details."""
        external_identifier = fields.get("external_identifier")
        row = self._account.stamped(
            {
                "type": "agent_version",
                "id": self._account.new_id(),
                "account_id": self._account.account_id,
                "agent_id": agent_id,
                "agent_schema_version_id": schema_row and schema_row["id"],
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

    def add_schema(self, agent_id: str, schema: JsonObject) -> JsonObject:
        """Add a schema version and return its details."""
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
                "span_type_schemas": _span_types(schema),
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


def check_agent_version(fields: Fields) -> None:
    """Note what is wrong with a request's ``agent_version``."""
    version = cast("Fields", fields.within("agent_version"))
    for name in ("external_identifier", "name", "description"):
        version.text(name)
    runtime = version.within("runtime_environment")
    if runtime is not None:
        runtime.text("os")
        runtime.text("runtime")


def check_schema(schema: Fields) -> None:
    """Note what is wrong with a schema version."""
    schema.text("external_identifier")
    span_schemas = schema.mapping("span_schemas")
    if span_schemas is None:
        if schema.value("span_result_schemas") is not None:
            schema.refuse("span_result_schemas", "needs span_schemas")
        schema.value("span_type_schemas", required=True)
    else:
        schema.mapping("span_result_schemas")
        if schema.value("span_type_schemas") is not None:
            schema.refuse("span_schemas", "can't be given with span_type_schemas")
    for span_type in schema.objects("span_type_schemas"):
        span_type.text("name", required=True, blank=False)
        span_type.mapping("params_schema", required=True)
        span_type.mapping("result_schema")
        for name in ("title", "description", "template", "result_template"):
            span_type.text(name)
        _check_risk(span_type)
    for quality in schema.objects("quality_schemas"):
        quality.text("name", required=True, blank=False)
        quality.mapping("schema", required=True)
        for name in ("title", "description", "template"):
            quality.text(name)
        _check_risk(quality)


def _check_risk(fields: Fields) -> None:
    risk = fields.within("data_risk")
    if risk is None:
        return
    for name, levels in _RISK_LEVELS.items():
        entries = risk.mapping(name) or {}
        for entry in entries:
            if entry == "classification":
                continue
            cast("Fields", risk.within(name)).choice(entry, levels)
        if "classification" in entries:
            cast("Fields", risk.within(name)).choice("classification", _CLASSIFICATIONS)


def _span_types(schema: JsonObject) -> dict[str, JsonObject]:
    listed: list[dict[str, Any]] | None = schema.get("span_type_schemas")
    if listed is None:
        results = schema.get("span_result_schemas") or {}
        listed = [
            {"name": name, "params_schema": params, "result_schema": results.get(name)}
            for name, params in schema["span_schemas"].items()
        ]
    return {
        span_type["name"]: {
            "name": span_type["name"],
            "title": span_type.get("title") or span_type["name"],
            "description": span_type.get("description"),
            "params_schema": span_type["params_schema"],
            "result_schema": span_type.get("result_schema") or {},
            "template": span_type.get("template"),
            "result_template": span_type.get("result_template"),
            "data_risk": span_type.get("data_risk"),
        }
        for span_type in listed
    }
