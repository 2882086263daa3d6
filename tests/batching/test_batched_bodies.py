"""The items of bulk requests have the bytes of their direct calls, also where calls share them."""

from __future__ import annotations

import asyncio
from typing import Any

from batching_support import VERSION, FakeApi, batching, names

A, B, C, D = names("call", 4)


def schema(name: str) -> dict[str, Any]:
    """A schema that is larger than the rest of a call."""
    types = [
        {"name": f"type-{number}", "params_schema": {"type": "object", "title": name}}
        for number in range(40)
    ]
    return {"external_identifier": name, "span_type_schemas": types}


async def test_calls_with_large_schemas_are_sent_unchanged(api: FakeApi) -> None:
    """Also if another schema, and another agent, come in between."""
    calls = [
        (A, "agent-1", schema("s1")),
        (B, "agent-1", schema("s1")),
        (C, "agent-2", schema("s2")),
        (D, "agent-1", schema("s1")),
    ]
    async with batching(api.server) as view:
        register = view.agent_instances.register
        await asyncio.gather(
            *(register(agent, VERSION, schema, idempotency_key=key) for key, agent, schema in calls)
        )
        items = api.server.request.json["items"]
        api.server.requests.clear()
        for key, agent, schema_ in calls:
            await register(agent, VERSION, schema_, idempotency_key=f"{key}-again")
        direct = [request.json for request in api.server.requests]
    assert [item.pop("_type") for item in items] == ["agent_instances/register"] * 4
    assert [item.pop("idempotency_key") for item in items] == [A, B, C, D]
    assert [body.pop("idempotency_key") for body in direct] == [
        f"{key}-again" for key in (A, B, C, D)
    ]
    assert items == direct
    assert [item["agent_schema_version"] for item in items] == [each[2] for each in calls]


async def test_a_large_call_that_is_alone_is_sent_as_its_direct_call(api: FakeApi) -> None:
    async with batching(api.server) as view:
        await view.agent_instances.register("a", VERSION, schema("s1"), idempotency_key=A)
    body = api.server.request.body
    assert body.startswith(b'{"agent_id":"a",')
    assert api.server.request.json["agent_schema_version"] == schema("s1")
