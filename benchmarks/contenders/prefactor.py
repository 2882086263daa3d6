"""`prefactor_http`: ours or the reference, whichever the environment holds; one code for both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks import workload
from benchmarks.contenders import Calls
from prefactor_http import HttpClientConfig, PrefactorHttpClient


@asynccontextmanager
async def open_calls(url: str) -> AsyncIterator[Calls]:
    config = HttpClientConfig(api_url=url, api_token=workload.TOKEN)
    async with PrefactorHttpClient(config) as client:
        instances = client.agent_instances

        async def register() -> object:
            return await instances.register(
                agent_id=workload.AGENT_ID,
                environment_id=workload.ENVIRONMENT_ID,
                agent_version=workload.AGENT_VERSION,
                agent_schema_version=workload.SCHEMA_VERSION,
            )

        async def start() -> object:
            return await instances.start(workload.INSTANCE_ID)

        async def finish() -> object:
            return await instances.finish(workload.INSTANCE_ID, "complete")

        async def span() -> object:
            return await client.agent_spans.create(
                agent_instance_id=workload.INSTANCE_ID,
                schema_name="support:llm",
                status="active",
                payload=workload.SPAN_PAYLOAD,
            )

        async def span_finish() -> object:
            return await client.agent_spans.finish(
                workload.SPAN_ID, "complete", result_payload=workload.SPAN_RESULT
            )

        yield {
            "register": register,
            "start": start,
            "finish": finish,
            "span": span,
            "span_finish": span_finish,
        }
