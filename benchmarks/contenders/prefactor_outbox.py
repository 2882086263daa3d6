"""`prefactor_http` through an outbox."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.contenders import Calls
from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.outbox import Outbox
from prefactor_http.outbox.lock import ForwarderLock


@asynccontextmanager
async def open_calls(
    url: str,
    *,
    deliver: bool = True,
    path: str | None = None,
    token: str = workload.TOKEN,
    agent_id: str = workload.AGENT_ID,
    environment_id: str = workload.ENVIRONMENT_ID,
    **settings: Any,
) -> AsyncIterator[Calls]:
    """Open an outbox.

    Args:
        url: Base URL of the server.
        deliver: Whether the outbox delivers. If not, another one seems to deliver its file.
        path: The file; by default one that is deleted at the end.
        token: Token of the client.
        agent_id: Agent of the instances.
        environment_id: Environment of the instances.
        **settings: Settings of the client.
    """
    with ExitStack() as stack:
        if path is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = f"{folder}/outbox.db"
        lock = _lock_of(path)
        if not deliver:
            lock.acquire()
        async with PrefactorHttpClient(HttpClientConfig(url, token, **settings)) as client:
            outbox = Outbox(path, client)
            await outbox.open()
            yield _calls_of(outbox, {"agent_id": agent_id, "environment_id": environment_id})
            await outbox.close(drain_timeout=0)
            lock.release()


def _lock_of(path: str) -> ForwarderLock:
    return ForwarderLock(Path(path).resolve())


def _calls_of(outbox: Outbox, ids: dict[str, str]) -> Calls:
    agent: dict[str, Any] = {
        **ids,
        "agent_version": workload.AGENT_VERSION,
        "agent_schema_version": workload.SCHEMA_VERSION,
    }
    instances, spans = outbox.agent_instances, outbox.agent_spans

    async def register() -> object:
        return await instances.register(**agent)

    async def run() -> object:
        async with outbox.run(**agent, poll_interval=None) as run:
            return run

    async def lifecycle(accept: Callable[[str, str], None]) -> None:
        instance = await instances.register(**agent)
        accept("agent_instances.register", instance.id)
        await instances.start(instance.id)
        accept("agent_instances.start", instance.id)
        span = await spans.create(instance.id, "support:llm", "active", workload.SPAN_PAYLOAD)
        accept("agent_spans.create", span.id)
        await spans.finish(span.id, "complete", workload.SPAN_RESULT)
        accept("agent_spans.finish", span.id)
        await instances.finish(instance.id, "complete")
        accept("agent_instances.finish", instance.id)

    return {"register": register, "run": run, "lifecycle": lifecycle, "flush": outbox.flush}
