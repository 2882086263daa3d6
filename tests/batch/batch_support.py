"""Helpers of the tests in this folder: clients, rows, servers and assertions."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Any

from raw_server import Request, reply

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http._http.clock import Clock
from prefactor_http.idempotency import new_key
from prefactor_http.models.bulk import BulkItem
from prefactor_http.testing import LocalPrefactor

VERSION = {"external_identifier": "v1", "name": "batch"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


def client_of(api: Any, clock: Clock | None = None, **config: Any) -> PrefactorHttpClient:
    """Create a client that retries quickly."""
    settings = {
        "initial_retry_delay": 0.001,
        "max_retry_delay": 0.01,
        "retry_budget": None,
        "request_timeout": 10.0,
        **config,
    }
    token = settings.pop("token", getattr(api, "token", "token-1234"))
    return PrefactorHttpClient(HttpClientConfig(api.url, token, **settings), clock=clock)


def rows(count: int, **fields: Any) -> Iterable[dict[str, Any]]:
    """Yield rows, each with its own external identifier."""
    return ({"external_identifier": f"row-{number}", **fields} for number in range(count))


def register(
    client: PrefactorHttpClient,
    api: LocalPrefactor,
    source: Iterable[Any] | AsyncIterable[Any],
    **options: Any,
) -> Any:
    """Register rows of the server's default agent."""
    arguments = {
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        "agent_version": VERSION,
        "agent_schema_version": SCHEMA,
        **options,
    }
    return client.agent_instances.register_many(source, **arguments)


def registration(api: LocalPrefactor, key: str | None = None, **fields: Any) -> BulkItem:
    """Create an item that registers an instance."""
    return BulkItem(
        _type="agent_instances/register",
        idempotency_key=key or new_key(),
        agent_id=api.agent_id,
        environment_id=api.environment_id,
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
        **fields,
    )


def plain(key: str) -> BulkItem:
    """Create an item of a call that the client does not know, which any server can answer."""
    return BulkItem(_type="some/thing", idempotency_key=key)


NOW = "2026-01-01T00:00:00Z"


def instance_of(id: str, status: str = "pending", **fields: Any) -> dict[str, Any]:
    """Build an instance as the API returns it."""
    ids = dict.fromkeys(("account_id", "agent_id", "agent_version_id", "environment_id"), "x")
    moments = {"inserted_at": NOW, "updated_at": NOW}
    return {"type": "agent_instance", "id": id, "status": status, **ids, **moments, **fields}


def success(details: Any) -> dict[str, Any]:
    return {"status": "success", "details": details}


def failure(code: str, **errors: Any) -> dict[str, Any]:
    return {"status": "error", "code": code, "message": code, "errors": errors}


def registered(item: dict[str, Any]) -> dict[str, Any]:
    """Answer a register with a new instance."""
    name = item.get("external_identifier")
    made = item.get("id") or f"of-{name or item['idempotency_key']}"
    return success(instance_of(made, external_identifier=name))


def in_order(output_of: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], bytes]:
    """Answer bulk requests as the API does: in order, up to the first item that fails."""

    def answer(request: Request) -> bytes:
        outputs: dict[str, Any] = {}
        for item in request.json["items"]:
            output = outputs[item["idempotency_key"]] = output_of(item)
            if output["status"] == "error":
                break
        return reply(200, {"status": "success", "outputs": outputs})

    return answer


def register_rows(client: PrefactorHttpClient, source: Any, **options: Any) -> Any:
    """Register rows with any server."""
    shared = {"agent_version": VERSION, "agent_schema_version": SCHEMA}
    return client.agent_instances.register_many(source, **shared, **options)


def states(outcomes: Iterable[Any]) -> dict[str, int]:
    """Count outcomes by their state."""
    return dict(Counter(outcome.state.value for outcome in outcomes))


async def collect(stream: Any) -> list[Any]:
    """Read a stream to its end."""
    async with aclosing(stream):
        return [outcome async for outcome in stream]


async def collect_until_error(stream: Any, kind: type[Exception]) -> tuple[list[Any], Any]:
    """Read a stream until it raises the expected error."""
    outcomes = []
    async with aclosing(stream):
        try:
            async for outcome in stream:
                outcomes.append(outcome)  # noqa: PERF401 # kept when the next one raises
        except kind as error:
            return outcomes, error
    raise AssertionError(f"no {kind.__name__}")


def indexes(outcomes: Iterable[Any]) -> list[int]:
    """Return the sorted positions of the outcomes."""
    return sorted(outcome.index for outcome in outcomes)


def items_sent(request: Any) -> list[dict[str, Any]]:
    """Return the items of a recorded request."""
    return json.loads(request.body)["items"]


def bulk_requests(api: LocalPrefactor) -> list[Any]:
    """Return the bulk requests whose body arrived."""
    return [request for request in api.requests if request.body]


def assert_nothing_doubled_or_lost(
    api: LocalPrefactor, *, except_for: Iterable[str | None] = ()
) -> None:
    assert api.doubled == []
    assert {write.idempotency_key for write in api.lost} <= set(except_for)
    assert api.keys_reused == []
    assert api.bytes_changed == []
    assert api.violations == []
    assert api.stats()["keyless_writes"] == 0


async def until(condition: Any) -> None:
    """Poll until a condition is true."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 # a server's state has no event
            await asyncio.sleep(0.005)
