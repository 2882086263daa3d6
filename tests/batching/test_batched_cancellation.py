"""Batched calls that are cancelled before they are sent, or when their result arrives."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.events import Attempt
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.testing import Fault, FaultKind, LocalPrefactor

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


class CancellingClock:
    """Cancels the first task when the client has a response and asks for the time."""

    def __init__(self, tasks: list[asyncio.Task[AgentInstance]]) -> None:
        self._tasks = tasks
        self._has_response = False

    def on_attempt(self, event: Attempt) -> None:
        self._has_response = event.operation == "bulk.execute"

    def monotonic(self) -> float:
        if self._has_response:
            self._tasks[0].cancel()
        return time.monotonic()

    def utcnow(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_closing_waits_for_others_after_a_call_was_cancelled_when_its_result_arrived() -> (
    None
):
    tasks: list[asyncio.Task[AgentInstance]] = []
    clock = CancellingClock(tasks)
    async with (
        LocalPrefactor() as api,
        PrefactorHttpClient(
            HttpClientConfig(api.url, api.token, on_attempt=clock.on_attempt), clock=clock
        ) as client,
        asyncio.timeout(5),
    ):
        async with client.batched() as batched:

            def register(key: str) -> asyncio.Task[AgentInstance]:
                call = batched.agent_instances.register(
                    api.agent_id,
                    VERSION,
                    SCHEMA,
                    environment_id=api.environment_id,
                    idempotency_key=key,
                )
                return asyncio.create_task(call)

            tasks += [register("cancelled-1"), register("finished-1")]
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await tasks[0]
            assert "cancelled-1" in " ".join(cancelled.value.__notes__)
            assert cancelled.value.outcome_unknown  # it was applied
            await tasks[1]
            api.fail_next(Fault(FaultKind.DELAYED, seconds=0.3))
            later = [register("later-1")]
            await asyncio.sleep(0.05)  # it is in flight
            later.append(register("later-2"))
            await asyncio.sleep(0)  # it is made
        assert all(task.done() for task in later)
        await asyncio.gather(*later)
    assert len(api.effects) == 4
