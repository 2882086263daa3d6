"""The responses of the benchmark server: full size and constant (contract §7, §8, §9)."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import workload

_MOMENT = "2025-11-20T09:15:27.481Z"
_COUNTS = ("total", "pending", "active", "complete", "failed", "cancelled", "finished")


def instance(status: str, instance_id: str = workload.INSTANCE_ID) -> dict[str, Any]:
    ended = status in {"complete", "failed", "cancelled"}
    return {
        "type": "agent_instance",
        "id": instance_id,
        "account_id": workload.ACCOUNT_ID,
        "agent_id": workload.AGENT_ID,
        "agent_version_id": workload.VERSION_ID,
        "environment_id": workload.ENVIRONMENT_ID,
        "agent_deployment_id": workload.DEPLOYMENT_ID,
        "status": status,
        "inserted_at": _MOMENT,
        "updated_at": _MOMENT,
        "started_at": None if status == "pending" else _MOMENT,
        "finished_at": _MOMENT if ended else None,
        "termination_reason": None,
        "external_identifier": None,
        "purpose": "live",
        "span_counts": dict.fromkeys(_COUNTS, 0),
        "quality_payloads": None,
        "quality_summaries": None,
        "cost_breakdown": None,
        "span_schema_counts": {},
        "risk_score": None,
    }


def span(status: str) -> dict[str, Any]:
    ended = status != "active"
    return {
        "type": "agent_span",
        "id": workload.SPAN_ID,
        "account_id": workload.ACCOUNT_ID,
        "agent_id": workload.AGENT_ID,
        "agent_instance_id": workload.INSTANCE_ID,
        "parent_span_id": None,
        "schema_name": "support:llm",
        "schema_title": "support:llm",
        "status": status,
        "payload": workload.SPAN_PAYLOAD,
        "result_payload": workload.SPAN_RESULT if ended else None,
        "summary": None,
        "started_at": _MOMENT,
        "finished_at": _MOMENT if ended else None,
        "inserted_at": _MOMENT,
        "updated_at": _MOMENT,
    }


def success(details: dict[str, Any], **siblings: object) -> bytes:
    """Encode the envelope of a single resource."""
    return _encode({"status": "success", "details": details, **siblings})


def error(code: str, message: str) -> bytes:
    return _encode({"status": "error", "code": code, "message": message})


def registered(instance_id: str = workload.INSTANCE_ID) -> bytes:
    """Encode the response to a register, with the schema version beside the details."""
    types = workload.SCHEMA_VERSION["span_type_schemas"]
    version = {
        "type": "agent_schema_version",
        "id": workload.SCHEMA_VERSION_ID,
        "account_id": workload.ACCOUNT_ID,
        "agent_id": workload.AGENT_ID,
        "external_identifier": workload.SCHEMA_VERSION["external_identifier"],
        "external_identifier_repeats": 0,
        "current_agent_deployment_refs": [workload.DEPLOYMENT_ID],
        "inserted_at": _MOMENT,
        "span_type_schemas": {each["name"]: each for each in types},
    }
    return success(instance("pending", instance_id), agent_schema_version=version)


def http(status: str, body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """Return a whole HTTP response with the headers that a proxy in front of the API adds."""
    lines = (
        f"HTTP/1.1 {status}",
        "Date: Thu, 20 Nov 2025 09:15:27 GMT",
        f"Content-Type: {content_type}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: max-age=0, private, must-revalidate",
        "X-Request-Id: GHm2dFd1q8kRZ5sAAB3C",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
