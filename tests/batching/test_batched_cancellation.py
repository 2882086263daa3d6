"""Batched calls that are cancelled before they are sent."""

from __future__ import annotations

import asyncio

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.testing import LocalPrefactor

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


@pytest.mark.parametrize("others", [0, 3])
async def test_a_call_that_is_cancelled_before_its_turn_is_not_sent(
    others: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        LocalPrefactor() as api,
        PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client,
        client.batched() as batched,
        asyncio.timeout(5),
    ):

        def register(name: str) -> asyncio.Task[object]:
            call = batched.agent_instances.register(
                api.agent_id,
                VERSION,
                SCHEMA,
                environment_id=api.environment_id,
                external_identifier=name,
            )
            return asyncio.create_task(call)  # type: ignore[arg-type] # a coroutine

        cancelled = register("cancelled")
        tasks = [register(f"other-{number}") for number in range(others)]
        await asyncio.sleep(0)  # all wait for their turn, which comes next
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.gather(*tasks, register("later"))
        names = [instance["external_identifier"] for instance in api.instances.values()]
        assert sorted(names) == ["later", *(f"other-{number}" for number in range(others))]
    assert not [record for record in caplog.records if record.name == "asyncio"]
