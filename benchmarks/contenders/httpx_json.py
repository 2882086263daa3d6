"""Hand-written httpx code: JSON in, JSON out, a key, no retries."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from benchmarks import workload
from benchmarks.contenders import REGISTER_PATH, SPANS_PATH, Calls


@asynccontextmanager
async def open_calls(url: str) -> AsyncIterator[Calls]:
    headers = {"Authorization": f"Bearer {workload.TOKEN}", "Accept": "application/json"}
    # The connection limit of aiohttp, and no timeout for acquiring a connection.
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    timeout = httpx.Timeout(30, connect=10, pool=None)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=timeout, trust_env=False
    ) as client:

        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            body["idempotency_key"] = str(uuid.uuid4())
            response = await client.post(path, json=body)
            response.raise_for_status()
            return cast("dict[str, Any]", response.json()["details"])

        instance = f"/api/v1/agent_instance/{workload.INSTANCE_ID}"
        finished_span = {"status": "complete", "result_payload": workload.SPAN_RESULT}
        yield {
            "register": lambda: post(REGISTER_PATH, workload.register_body()),
            "start": lambda: post(f"{instance}/start", {}),
            "finish": lambda: post(f"{instance}/finish", {"status": "complete"}),
            "span": lambda: post(SPANS_PATH, {"details": workload.span_details()}),
            "span_finish": lambda: post(
                f"{SPANS_PATH}/{workload.SPAN_ID}/finish", dict(finished_span)
            ),
        }
