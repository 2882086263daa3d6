"""Helpers of the tests in this folder."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.outbox import Outbox
from prefactor_http.testing import LocalPrefactor

VERSION = {"external_identifier": "v1", "name": "outbox"}
QUALITY = {"name": "score", "schema": {"type": "object"}}
SCHEMA = {
    "external_identifier": "s1",
    "span_type_schemas": [],
    "quality_schemas": [QUALITY],
}


def client_of(api: Any, **config: Any) -> PrefactorHttpClient:
    """Create a client that retries quickly."""
    settings = {
        "initial_retry_delay": 0.005,
        "max_retry_delay": 0.05,
        "retry_budget": None,
        "request_timeout": 10.0,
        **config,
    }
    token = settings.pop("token", api.token)
    return PrefactorHttpClient(HttpClientConfig(api.url, token, **settings))


async def register(outbox: Outbox, api: LocalPrefactor, **fields: Any) -> Any:
    """Record the registration of an instance of the server's default agent."""
    return await outbox.agent_instances.register(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, **fields
    )


async def record_lifecycle(outbox: Outbox, api: LocalPrefactor) -> list[Any]:
    """Record the five writes of a run with one span, and return their receipts."""
    registered = await register(outbox, api)
    started = await outbox.agent_instances.start(registered.id)
    created = await outbox.agent_spans.create(registered.id, "tool", "active")
    span_finished = await outbox.agent_spans.finish(created.id, result_payload={"n": 1})
    finished = await outbox.agent_instances.finish(registered.id)
    return [registered, started, created, span_finished, finished]


def assert_applied_once_and_in_order(api: LocalPrefactor, receipts: list[Any]) -> None:
    """Check that each write took effect once, and those of one instance in order."""
    effects = Counter(effect.idempotency_key for effect in api.effects)
    assert {receipt.idempotency_key: 1 for receipt in receipts} == dict(effects)
    order = [effect.idempotency_key for effect in api.effects]
    by_instance: dict[str, list[Any]] = {}
    for receipt in receipts:
        by_instance.setdefault(receipt.agent_instance_id, []).append(receipt)
    for own in by_instance.values():
        places = [order.index(receipt.idempotency_key) for receipt in own]
        assert places == sorted(places)
    assert api.bytes_changed == []
    assert api.keys_reused == []
    assert api.violations == []


async def until(condition: Any) -> None:
    """Poll until a condition is true."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 # a server's state has no event
            await asyncio.sleep(0.005)
