"""The requests of every contender: one agent, its schema, a span. Standard library only.

The module also runs in environments that contain only a contender and its dependencies.
"""

from __future__ import annotations

import json
from typing import Any

TOKEN = "benchmark-token"

ACCOUNT_ID = "01hx3v9k2a00000cs0k3m7q9x2v4b6d8"
AGENT_ID = "01hx3v9k2b00000cs0a1b2c3d4e5f6g7"
ENVIRONMENT_ID = "01hx3v9k2c00000cs0b2c3d4e5f6g7h8"
DEPLOYMENT_ID = "01hx3v9k2d00000cs0c3d4e5f6g7h8j9"
VERSION_ID = "01hx3v9k2e00000cs0d4e5f6g7h8j9ka"
INSTANCE_ID = "01hx3v9k2f00000cs0e5f6g7h8j9kamb"
SPAN_ID = "01hx3v9k2g00000cs0f6g7h8j9kambnc"
SCHEMA_VERSION_ID = "01hx3v9k2h00000cs0g7h8j9kambncpd"

AGENT_VERSION: dict[str, Any] = {
    "external_identifier": "support-triage-2025.11.2",
    "name": "Support triage",
    "description": "Reads incoming tickets, looks up the customer, proposes an answer.",
    "runtime_environment": {"os": "linux", "runtime": "cpython@3.11", "agent_sdk": ["own@1.4.0"]},
}

SPAN_PAYLOAD: dict[str, Any] = {
    "model": "large-2025-10",
    "temperature": 0.2,
    "messages": [
        {"role": "system", "content": "You answer support tickets in two sentences."},
        {"role": "user", "content": "My invoice of October shows the wrong address."},
    ],
    "max_tokens": 512,
}
SPAN_RESULT: dict[str, Any] = {
    "content": "We corrected the address and sent the invoice again.",
    "usage": {"input_tokens": 211, "output_tokens": 17},
}


def schema_version(kilobytes: float = 0.5) -> dict[str, Any]:
    """Build an `agent_schema_version` whose JSON has about this size."""
    schema: dict[str, Any] = {"external_identifier": "support-triage-schema-7"}
    types: list[dict[str, Any]] = [_span_type(0, 2)]
    schema["span_type_schemas"] = types
    while len(json.dumps(schema)) < kilobytes * 1000 - 400:
        types.append(_span_type(len(types), 6))
    return schema


def _span_type(number: int, fields: int) -> dict[str, Any]:
    properties = {
        f"field_{field}": {"type": "string", "description": f"Argument {field} of the tool"}
        for field in range(fields)
    }
    return {
        "name": f"support:tool_{number}",
        "title": f"Tool {number}",
        "params_schema": {"type": "object", "properties": properties, "required": ["field_0"]},
    }


SCHEMA_VERSION = schema_version()
_SCHEMA_VERSIONS = {0.5: SCHEMA_VERSION, 4: schema_version(4), 20: schema_version(20)}


def register_body(kilobytes: float = 0.5) -> dict[str, Any]:
    """Build the body of a register without a key; its schema has 0.5, 4 or 20 kB."""
    return {
        "agent_id": AGENT_ID,
        "environment_id": ENVIRONMENT_ID,
        "agent_version": AGENT_VERSION,
        "agent_schema_version": _SCHEMA_VERSIONS[kilobytes],
        "update_current_version": True,
    }


def span_details() -> dict[str, Any]:
    return {
        "agent_instance_id": INSTANCE_ID,
        "schema_name": "support:llm",
        "status": "active",
        "payload": SPAN_PAYLOAD,
    }
