"""A scripted API for batched calls, and the calls that the tests in this folder make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from raw_server import RawServer, Request, reply

from prefactor_http import HttpClientConfig, PrefactorHttpClient

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
NOW = "2026-01-01T00:00:00Z"
_IDS = dict.fromkeys(("account_id", "agent_id", "agent_version_id", "environment_id"), "x")
_STATES = {"register": "pending", "start": "active", "finish": "complete", "create": "active"}

Output = dict[str, Any]


def instance(id: str, status: str = "pending", **fields: Any) -> Output:
    moments = {"inserted_at": NOW, "updated_at": NOW}
    return {"type": "agent_instance", "id": id, "status": status, **_IDS, **moments, **fields}


def span(id: str, instance_id: str, status: str = "active", **fields: Any) -> Output:
    return {
        "type": "agent_span",
        "id": id,
        "agent_instance_id": instance_id,
        "account_id": "x",
        "schema_name": "llm",
        "status": status,
        "payload": {},
        "started_at": NOW,
        "finished_at": NOW if status == "complete" else None,
        "inserted_at": NOW,
        "updated_at": NOW,
        **fields,
    }


def success(details: Output, **fields: Any) -> Output:
    return {"status": "success", "details": details, **fields}


def error(code: str, **errors: list[str]) -> Output:
    return {"status": "error", "code": code, "message": code, "errors": errors}


def output_of(item: dict[str, Any]) -> Output:
    """Answer a call with a success."""
    resource, _, action = item["_type"].partition("/")
    if resource == "agent_spans":
        if action == "create":
            details = item["details"]
            made = details.get("id") or f"span-{item['idempotency_key']}"
            return success(span(made, details["agent_instance_id"]))
        return success(span(item["agent_span_id"], "i-1", item.get("status") or "complete"))
    if action == "register":
        name = item.get("external_identifier")
        made = item.get("id") or f"of-{name or item['idempotency_key']}"
        return success(instance(made, external_identifier=name))
    return success(instance(item["agent_instance_id"], _STATES.get(action, "active")))


def items_in(request: Request) -> list[dict[str, Any]]:
    """Return the calls of a direct or a bulk request as items."""
    path, body = request.target.removeprefix("/api/v1/"), request.json
    if path == "bulk":
        return list(body["items"])
    resource, *parts = path.split("/")
    kind = "agent_spans" if resource == "agent_spans" else "agent_instances"
    action = parts[-1] if parts else "create"
    ids = {f"{kind.removesuffix('s')}_id": parts[0]} if len(parts) > 1 else {}
    return [{"_type": f"{kind}/{action}", **ids, **body}]


class FakeApi:
    """Answers the calls of direct and bulk requests, and records them.

    Attributes:
        output_of: Returns the output of an item.
        answer: Answers a request instead, unless it returns None.
        gate: Requests that arrive while there is one are answered when it is set.
    """

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.output_of: Callable[[dict[str, Any]], Output] = output_of
        self.answer: Callable[[Request], bytes | None] = lambda _: None
        self.gate: asyncio.Event | None = None
        server.answer = self._answer

    @property
    def sent(self) -> list[list[str]]:
        """The keys of each write, by request; a direct one starts with ``direct``."""
        return [
            ["direct"] * (not request.target.endswith("/bulk"))
            + [item["idempotency_key"] for item in items_in(request)]
            for request in self.server.requests
            if request.method != "GET"
        ]

    def hold(self) -> asyncio.Event:
        """Hold back the responses to requests from now on."""
        self.gate = asyncio.Event()
        return self.gate

    def release(self) -> None:
        """Send the responses that are held back, and hold back no more."""
        assert self.gate is not None
        self.gate.set()
        self.gate = None

    async def _answer(self, request: Request) -> bytes:
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answer(request)
        return self.respond(request) if answer is None else answer

    def respond(self, request: Request) -> bytes:
        """Answer with outputs, in order, up to the first one that is an error."""
        if request.method == "GET":
            return reply(200, success(instance(request.target.rpartition("/")[2])))
        items = items_in(request)
        if not request.target.endswith("/bulk"):
            output = self.output_of(items[0])
            status = {"invalid_action": 409, "bad_request": 400, "not_found": 404}
            is_ok = output["status"] == "success"
            return reply(200 if is_ok else status.get(output["code"], 422), output)
        outputs: dict[str, Output] = {}
        for item in items:
            output = outputs[item["idempotency_key"]] = self.output_of(item)
            if output["status"] == "error":
                break
        return reply(200, {"status": "success", "outputs": outputs})


def failing(status: int = 503, **headers: str) -> bytes:
    """A response to a request that fails as a whole."""
    return reply(status, {"status": "error", "code": f"error_{status}", "message": "x"}, **headers)


def config_of(server: Any, **config: Any) -> HttpClientConfig:
    """Configure a client that retries quickly."""
    settings = {
        "initial_retry_delay": 0.001,
        "max_retry_delay": 0.002,
        "request_timeout": 10.0,
        **config,
    }
    return HttpClientConfig(server.url, getattr(server, "token", "token-1234"), **settings)


@asynccontextmanager
async def batching(
    server: Any, bounds: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[PrefactorHttpClient]:
    """Open a client and a batching view of it."""
    async with (
        asyncio.timeout(20),
        PrefactorHttpClient(config_of(server, **config)) as client,
        client.batched(**(bounds or {})) as view,
    ):
        yield view


def register(view: PrefactorHttpClient, key: str, **fields: Any) -> asyncio.Task[Any]:
    """Register an instance that is named after its key."""
    fields = {"external_identifier": key, **fields}
    call = view.agent_instances.register("agent", VERSION, SCHEMA, idempotency_key=key, **fields)
    return asyncio.create_task(call)  # type: ignore[arg-type] # a coroutine


def registers(view: PrefactorHttpClient, *keys: str) -> list[asyncio.Task[Any]]:
    return [register(view, key) for key in keys]


def start(view: PrefactorHttpClient, key: str, id: str = "i-1") -> asyncio.Task[Any]:
    call = view.agent_instances.start(id, idempotency_key=key)
    return asyncio.create_task(call)  # type: ignore[arg-type] # a coroutine


def finish(view: PrefactorHttpClient, key: str, id: str = "i-1") -> asyncio.Task[Any]:
    call = view.agent_instances.finish(id, idempotency_key=key)
    return asyncio.create_task(call)  # type: ignore[arg-type] # a coroutine


def names(prefix: str, count: int) -> list[str]:
    """Return keys that are long enough for bulk requests."""
    return [f"{prefix}-number-{number}" for number in range(count)]


async def until(condition: Callable[[], object]) -> None:
    """Poll until a condition is true."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 # a server's state has no event
            await asyncio.sleep(0.001)


async def turns(count: int = 5) -> None:
    """Let all other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def failures(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Return the errors of calls that all fail."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, BaseException) for result in results), results
    return results
