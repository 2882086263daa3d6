"""Validates agent versions and schemas, and formats schemas for responses (contract §7.1)."""

from __future__ import annotations

from typing import Any

from prefactor_http.testing.resources.fields import Fields
from prefactor_http.testing.resources.response import JsonObject

_RISK_LEVELS = {
    "action_profile": frozenset({"unknown", "allowed", "disallowed"}),
    "params_data_categories": frozenset({"unknown", "included", "excluded"}),
    "result_data_categories": frozenset({"unknown", "included", "excluded"}),
}
_CLASSIFICATIONS = frozenset(
    {"unknown", "public", "internal", "confidential", "restricted", "secret"}
)


def check_agent_version(version: Fields) -> None:
    """Record the errors of an agent version."""
    for name in ("external_identifier", "name", "description"):
        version.text(name)
    runtime = version.within("runtime_environment")
    if runtime is not None:
        runtime.text("os")
        runtime.text("runtime")


def check_schema(schema: Fields) -> None:
    """Record the errors of a schema version."""
    schema.text("external_identifier")
    span_schemas = schema.mapping("span_schemas")
    if span_schemas is None:
        if schema.value("span_result_schemas") is not None:
            schema.refuse("span_result_schemas", "needs span_schemas")
        if schema.value("span_type_schemas") is None:
            schema.refuse("span_type_schemas", "or span_schemas is required")
    else:
        schema.mapping("span_result_schemas")
        if schema.value("span_type_schemas") is not None:
            schema.refuse("span_schemas", "can't be combined with span_type_schemas")
    for span_type in schema.objects("span_type_schemas"):
        span_type.required_text("name")
        span_type.required_mapping("params_schema")
        span_type.mapping("result_schema")
        for name in ("title", "description", "template", "result_template"):
            span_type.text(name)
        _check_risk(span_type)
    for quality in schema.objects("quality_schemas"):
        quality.required_text("name")
        quality.required_mapping("schema")
        for name in ("title", "description", "template"):
            quality.text(name)
        _check_risk(quality)


def _check_risk(fields: Fields) -> None:
    risk = fields.within("data_risk")
    if risk is None:
        return
    for name, levels in _RISK_LEVELS.items():
        entries = risk.within(name)
        if entries is not None:
            for entry in entries:
                entries.choice(entry, _CLASSIFICATIONS if entry == "classification" else levels)


def span_types(schema: JsonObject) -> dict[str, JsonObject]:
    """Return the span types of a schema by name, in the form used in responses."""
    listed: list[dict[str, Any]] | None = schema.get("span_type_schemas")
    if listed is None:
        results: JsonObject = schema.get("span_result_schemas") or {}
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
