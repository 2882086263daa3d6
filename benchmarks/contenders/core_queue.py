"""`prefactor-core` on the reference: writes wait in a queue in memory, which three workers send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from prefactor_core import PrefactorCoreClient, PrefactorCoreConfig, SchemaRegistry

from benchmarks import workload
from benchmarks.contenders import Calls
from prefactor_http.config import HttpClientConfig


@asynccontextmanager
async def open_calls(
    url: str, *, token: str, agent_id: str, environment_id: str, **settings: Any
) -> AsyncIterator[Calls]:
    registry = SchemaRegistry()
    registry.register("support:llm", {"type": "object"})
    config = PrefactorCoreConfig(
        http_config=HttpClientConfig(api_url=url, api_token=token, **settings),
        schema_registry=registry,
    )
    async with PrefactorCoreClient(config) as client:

        async def lifecycle(accept: Callable[[str, str], None]) -> None:
            instance = await client.create_agent_instance(
                agent_id=agent_id,
                agent_version=workload.AGENT_VERSION,
                external_schema_version_id="support-triage-schema-7",
                environment_id=environment_id,
            )
            accept("agent_instances.register", instance.id)
            await instance.start()
            accept("agent_instances.start", instance.id)
            async with instance.span("support:llm") as span:
                await span.start(workload.SPAN_PAYLOAD)
                accept("agent_spans.create", span.id)
                await span.complete(workload.SPAN_RESULT)
                accept("agent_spans.finish", span.id)
            await instance.finish(status="complete")
            accept("agent_instances.finish", instance.id)

        yield {"lifecycle": lifecycle}
