"""Calls the local API with plain aiohttp, independently of the client under test."""

import asyncio
import itertools
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

SCHEMA = {
    "external_identifier": "schema-1",
    "span_type_schemas": [
        {"name": "llm", "title": "LLM call", "params_schema": {"type": "object"}},
        {"name": "tool", "params_schema": {"type": "object"}},
    ],
    "quality_schemas": [{"name": "helpfulness", "schema": {"type": "object"}}],
}
VERSION = {"external_identifier": "v1", "name": "Version 1"}


@dataclass
class Response:
    """A complete response."""

    status: int
    headers: Any
    body: bytes
    json: Any

    @property
    def details(self):
        assert self.status == 200, self.json
        return self.json["details"]

    @property
    def code(self):
        return self.json["code"]


async def wait_for_attempts(api, count):
    """Wait until the server has received this many attempts."""
    while len(api.requests) < count:  # noqa: ASYNC110 # the server has no event for tests
        await asyncio.sleep(0)


class Caller:
    """A client without retries."""

    def __init__(self, api, session):
        self.api = api
        self._session = session
        self._keys = itertools.count()

    def key(self):
        return f"test-key-{next(self._keys):06}"

    async def send(self, method, path, *, token=None, total_timeout=5.0, **options):
        headers = {"Authorization": f"Bearer {token or self.api.token}"}
        headers.update(options.pop("headers", {}))
        async with self._session.request(
            method,
            self.api.url + "/api/v1" + path,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=total_timeout),
            allow_redirects=False,
            **options,
        ) as response:
            body = await response.read()
            decoded = None
            if response.content_type == "application/json" and body:
                with suppress(ValueError):
                    decoded = json.loads(body)
            return Response(response.status, response.headers, body, decoded)

    async def get(self, path, **options):
        return await self.send("GET", path, **options)

    async def post(self, path, body, **options):
        return await self.send("POST", path, json=body, **options)

    def registration(self, **changes):
        body = {
            "agent_id": self.api.agent_id,
            "environment_id": self.api.environment_id,
            "agent_version": VERSION,
            "agent_schema_version": SCHEMA,
            "idempotency_key": self.key(),
            **changes,
        }
        return {name: value for name, value in body.items() if value is not ...}

    async def register(self, **changes):
        options = {"token": changes.pop("token", None)}
        return await self.post("/agent_instance/register", self.registration(**changes), **options)

    async def instance(self, status="pending"):
        """Create an instance with the given status and return its id."""
        instance_id = (await self.register()).details["id"]
        path = f"/agent_instance/{instance_id}"
        if status == "cancelled":
            await self.post(f"{path}/finish", {"status": "cancelled"})
        elif status != "pending":
            await self.post(f"{path}/start", {})
        if status in ("complete", "failed"):
            await self.post(f"{path}/finish", {"status": status})
        elif status == "terminated":
            await self.post(f"{path}/terminate", {"reason": "enough"})
        assert self.api.instances[instance_id]["status"] == status
        return instance_id

    async def span(self, instance_id, **changes):
        span = {
            "agent_instance_id": instance_id,
            "schema_name": "llm",
            "status": "active",
            "payload": {},
            **changes,
        }
        return await self.post("/agent_spans", {"details": span, "idempotency_key": self.key()})

    async def bulk(self, *items, **options):
        return await self.post("/bulk", {"items": list(items)}, **options)

    def item(self, _type="agent_instances/register", **fields):
        if _type == "agent_instances/register":
            return {"_type": _type, **self.registration(**fields)}
        return {"_type": _type, "idempotency_key": self.key(), **fields}
