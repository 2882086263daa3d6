"""`prefactor_http`: ours or the reference, depending on the environment. The code is the same."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from benchmarks import workload
from benchmarks.contenders import Calls
from prefactor_http import BulkItem, BulkRequest, HttpClientConfig, PrefactorHttpClient


@asynccontextmanager
async def open_calls(url: str, **settings: Any) -> AsyncIterator[Calls]:
    async with open_client(url, **settings) as client:
        yield calls_of(client)


@asynccontextmanager
async def open_client(url: str, **settings: Any) -> AsyncIterator[PrefactorHttpClient]:
    known = {field.name for field in dataclasses.fields(HttpClientConfig)}
    given = {name: value for name, value in settings.items() if name in known}
    config = HttpClientConfig(api_url=url, api_token=workload.TOKEN, **given)
    async with PrefactorHttpClient(config) as client:
        if "max_connections" in settings.keys() - known:
            await _raise_connection_limit(client, settings["max_connections"])
        yield client


def calls_of(client: PrefactorHttpClient) -> Calls:
    return {**_single_calls(client), **_many_calls(client)}


def _single_calls(client: PrefactorHttpClient) -> Calls:
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

    return {
        "register": register,
        "start": start,
        "finish": finish,
        "span": span,
        "span_finish": span_finish,
    }


def _many_calls(client: PrefactorHttpClient) -> Calls:
    instances = client.agent_instances
    numbers = itertools.count()

    async def bulk(number: int, kilobytes: float, *, read: bool = False) -> int:
        fields = workload.register_body(kilobytes)
        items = [
            BulkItem(
                _type="agent_instances/register",
                idempotency_key=f"register-{next(numbers)}",
                **fields,
            )
            for _ in range(number)
        ]
        outputs = (await client.bulk.execute(BulkRequest(items=items))).outputs.values()
        good = [each for each in outputs if each.status == "success"]
        return len({each.details["id"] for each in good}) if read else len(good)

    async def rows(count: int, job: str | None, kilobytes: float) -> int:
        """Register rows with `register_many`, which only ours has."""
        source: Iterator[dict[str, Any]] = (
            {"external_identifier": f"ticket-{number}"} for number in range(count)
        )
        shared = workload.register_body(kilobytes)
        ok = 0
        async for outcome in instances.register_many(source, job=job, **shared):
            ok += outcome.ok
        return ok

    async def lifecycle(name: str) -> dict[str, Any]:
        """Register, start and finish; return the failed step and what the error says."""
        step = "register"
        try:
            instance = await instances.register(
                agent_id=workload.AGENT_ID,
                environment_id=workload.ENVIRONMENT_ID,
                agent_version=workload.AGENT_VERSION,
                agent_schema_version=workload.SCHEMA_VERSION,
                external_identifier=name,
            )
            step = "start"
            await instances.start(instance.id)
            step = "finish"
            await instances.finish(instance.id, "complete")
        except Exception as error:  # noqa: BLE001 # any error that a caller would have to catch
            unknown = getattr(error, "outcome_unknown", False)
            kind = type(error).__name__
            return {"name": name, "raised": step, "error": kind, "outcome_unknown": unknown}
        return {"name": name, "raised": None}

    return {"bulk": bulk, "rows": rows, "lifecycle": lifecycle}


async def _raise_connection_limit(client: Any, connections: int) -> None:
    """Raise the reference's limit of 100 connections, for which it has no setting."""
    timeout = client._session.timeout  # noqa: SLF001
    await client._session.close()  # noqa: SLF001
    connector = aiohttp.TCPConnector(limit=connections)
    client._session = aiohttp.ClientSession(timeout=timeout, connector=connector)  # noqa: SLF001
