"""Hand-written aiohttp code: JSON in, JSON out, a key, no retries."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp

from benchmarks import workload
from benchmarks.contenders import BULK_PATH, REGISTER_PATH, SPANS_PATH, Calls


@asynccontextmanager
async def open_calls(url: str, *, max_connections: int = 100) -> AsyncIterator[Calls]:
    headers = {"Authorization": f"Bearer {workload.TOKEN}", "Accept": "application/json"}
    timeout = aiohttp.ClientTimeout(total=30, connect=10)
    connector = aiohttp.TCPConnector(limit=max_connections)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=connector
    ) as session:

        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            body["idempotency_key"] = str(uuid.uuid4())
            async with session.post(url + path, json=body) as response:
                response.raise_for_status()
                return cast("dict[str, Any]", (await response.json())["details"])

        numbers = itertools.count()

        async def bulk(number: int, kilobytes: float, *, read: bool = False) -> int:
            fields = {"_type": "agent_instances/register", **workload.register_body(kilobytes)}
            items = [
                {**fields, "idempotency_key": f"register-{next(numbers)}"} for _ in range(number)
            ]
            async with session.post(url + BULK_PATH, json={"items": items}) as response:
                response.raise_for_status()
                outputs = (await response.json())["outputs"].values()
            good = [each for each in outputs if each["status"] == "success"]
            return len({each["details"]["id"] for each in good}) if read else len(good)

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
            "bulk": bulk,
        }
