"""aiohttp with constant bytes; the response is read but not decoded. The floor of the transport."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from benchmarks import workload
from benchmarks.contenders import REGISTER_PATH, SPANS_PATH, Calls

_KEY = "6f1c2f0e-54a2-4d55-9c0e-0c8f6a3f8f11"


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps({**body, "idempotency_key": _KEY}).encode()


@asynccontextmanager
async def open_calls(url: str) -> AsyncIterator[Calls]:
    headers = {
        "Authorization": f"Bearer {workload.TOKEN}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    bodies = {
        "register": _encode(workload.register_body()),
        "start": _encode({}),
        "finish": _encode({"status": "complete"}),
        "span": _encode({"details": workload.span_details()}),
        "span_finish": _encode({"status": "complete", "result_payload": workload.SPAN_RESULT}),
    }
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(address: str, body: bytes) -> bytes:
            async with session.post(address, data=body) as response:
                return await response.read()

        instance = f"{url}/api/v1/agent_instance/{workload.INSTANCE_ID}"
        span = f"{url}{SPANS_PATH}"
        yield {
            "register": lambda: post(url + REGISTER_PATH, bodies["register"]),
            "start": lambda: post(f"{instance}/start", bodies["start"]),
            "finish": lambda: post(f"{instance}/finish", bodies["finish"]),
            "span": lambda: post(span, bodies["span"]),
            "span_finish": lambda: post(f"{span}/{workload.SPAN_ID}/finish", bodies["span_finish"]),
        }
