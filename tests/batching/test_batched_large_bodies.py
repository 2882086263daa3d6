"""Registers of one agent share the begin of their bodies in memory; each is sent completely."""

import asyncio
from typing import Any

import pytest
from batching_support import FakeApi, batching, items_in

VERSION = {"external_identifier": "v1"}


def schema(name: str) -> dict[str, Any]:
    types = [{"name": f"{name}:{n}", "params_schema": {"type": "object"}} for n in range(40)]
    return {"external_identifier": name, "span_type_schemas": types}


@pytest.mark.parametrize("names", [["one"] * 4, ["one", "two", "one", "two"]])
async def test_each_register_is_sent_with_its_own_content(api: FakeApi, names: list[str]) -> None:
    async with batching(api.server) as view:
        instances = view.agent_instances
        calls = [
            instances.register(
                "agent-1",
                VERSION,
                schema(name),
                idempotency_key=f"key-{number:04}",
                external_identifier="x" * 50 * number or None,
            )
            for number, name in enumerate(names)
        ]
        for call, registered in zip(range(4), await asyncio.gather(*calls), strict=True):
            assert registered.external_identifier == ("x" * 50 * call or None)
    sent = [item for request in api.server.requests for item in items_in(request)]
    assert [item["agent_schema_version"] for item in sent] == [schema(name) for name in names]
    assert [item.get("external_identifier") for item in sent] == [
        None,
        *("x" * 50 * n for n in (1, 2, 3)),
    ]


async def test_a_large_call_that_waited_is_made_directly_with_its_own_body(api: FakeApi) -> None:
    async with batching(api.server) as view:
        for name in ("one", "two"):
            await view.agent_instances.register("agent-1", VERSION, schema(name))
    sent = [item["agent_schema_version"] for r in api.server.requests for item in items_in(r)]
    assert sent == [schema("one"), schema("two")]
    assert [keys[0] for keys in api.sent] == ["direct", "direct"]
