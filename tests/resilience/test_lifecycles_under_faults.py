"""Whatever the network does, each write is applied once."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from resilience_support import SCHEMA, VERSION

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.testing import IdempotencyPolicy, LocalPrefactor

# Thousands of calls through code that other tests cover: measuring them doubles their time.
pytestmark = pytest.mark.no_cover

LIFECYCLES = 100
AT_A_TIME = 16


async def run_lifecycles(api: LocalPrefactor) -> list[str]:
    config = HttpClientConfig(
        api.url,
        api.token,
        max_retries=12,
        request_timeout=0.4,
        initial_retry_delay=0.002,
        max_retry_delay=0.05,
    )
    slots = asyncio.Semaphore(AT_A_TIME)
    async with PrefactorHttpClient(config) as client:

        async def lifecycle(number: int) -> str:
            async with slots:
                calls = client.agent_instances
                registered = await calls.register(
                    api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
                )
                assert registered.status == "pending"
                started = await calls.start(registered.id)
                assert started.status == "active"
                status = "complete" if number % 3 else "failed"
                finished = await calls.finish(registered.id, status)
                assert finished.status == status
                return registered.id

        return await asyncio.gather(*(lifecycle(number) for number in range(LIFECYCLES)))


def assert_nothing_doubled_or_lost(api: LocalPrefactor, ids: list[str]) -> None:
    assert api.doubled == []
    assert api.lost == []
    assert api.bytes_changed == []
    assert api.violations == []
    assert api.stats()["keyless_writes"] == 0
    assert len(set(ids)) == LIFECYCLES == len(api.instances)
    assert {
        f"agent_instances.{action}": LIFECYCLES for action in ("register", "start", "finish")
    } == api.stats()["effects"]
    for number, instance_id in enumerate(ids):
        instance = api.instances[instance_id]
        assert instance["status"] == ("complete" if number % 3 else "failed")
        assert datetime.fromisoformat(instance["finished_at"]) >= datetime.fromisoformat(
            instance["started_at"]
        )


async def test_nothing_is_duplicated_lost_or_raised_at_thirty_percent_faults() -> None:
    async with LocalPrefactor(faults=0.3, seed=20261124) as api:
        ids = await run_lifecycles(api)
        assert_nothing_doubled_or_lost(api, ids)
        assert sum(api.faults_injected.values()) > LIFECYCLES / 2  # faults were injected
        assert len(api.faults_injected) >= 10
        assert api.replays > 0


async def test_starts_and_finishes_are_verified_if_the_server_forgot_their_keys() -> None:
    forgotten = frozenset({"agent_instances.start", "agent_instances.finish"})
    policy = IdempotencyPolicy(forget_when_lost=forgotten)
    async with LocalPrefactor(faults=0.3, seed=5, policy=policy) as api:
        ids = await run_lifecycles(api)
        assert_nothing_doubled_or_lost(api, ids)
        reads = [request for request in api.requests if request.method == "GET"]
        assert len(reads) > 10  # each verifies a write
