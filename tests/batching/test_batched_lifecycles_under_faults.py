"""Lifecycles through `batched`: whatever the network does, each write is applied once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from prefactor_http import HttpClientConfig, PrefactorApiError, PrefactorHttpClient
from prefactor_http.testing import (
    RANDOM_FAULTS,
    BulkPolicy,
    FaultKind,
    IdempotencyPolicy,
    KeyScope,
    LocalPrefactor,
    OnUnknownType,
)

# Thousands of calls through code that other tests cover: measuring them doubles their time.
pytestmark = pytest.mark.no_cover

VERSION = {"external_identifier": "v1", "name": "batched"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
LIFECYCLES = 300
AT_A_TIME = 64
UNKNOWN = frozenset({"agent_instances/start", "agent_spans/finish"})
# Without faults that never answer, each of which costs a timeout.
QUICK = tuple(
    kind
    for kind in RANDOM_FAULTS
    if kind not in {FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY}
)
FORGOTTEN = frozenset({"agent_instances.start", "agent_instances.finish", "agent_spans.finish"})


async def run_lifecycles(
    api: LocalPrefactor,
    count: int = LIFECYCLES,
    *,
    request_timeout: float = 5.0,
    may_be_unknown: bool = False,
    **options: Any,
) -> None:
    """Run lifecycles and check that each caller gets the results of its own calls.

    A call that raises, although it was applied or would have been, fails the test. If
    `may_be_unknown`, the calls of `UNKNOWN` types may have an unknown outcome; callers repeat them
    with their key.
    """
    config = HttpClientConfig(
        api.url,
        api.token,
        max_retries=12,
        request_timeout=request_timeout,
        initial_retry_delay=0.002,
        max_retry_delay=0.05,
        retry_budget=None,
    )
    slots = asyncio.Semaphore(AT_A_TIME)
    async with PrefactorHttpClient(config) as client, client.batched(**options) as batched:

        async def until_known(call: Callable[..., Any]) -> Any:
            key = None
            while True:
                try:
                    return await call(idempotency_key=key)
                except PrefactorApiError as error:
                    if not (may_be_unknown and error.outcome_unknown):
                        raise
                    key = error.idempotency_key

        async def lifecycle(number: int) -> None:
            async with slots:
                instances, spans = batched.agent_instances, batched.agent_spans
                registered = await instances.register(
                    api.agent_id,
                    VERSION,
                    SCHEMA,
                    environment_id=api.environment_id,
                    external_identifier=f"lifecycle-{number}",
                )
                assert registered.external_identifier == f"lifecycle-{number}"
                assert registered.status == "pending"
                started = await until_known(partial(instances.start, registered.id))
                assert (started.id, started.status) == (registered.id, "active")
                span = await spans.create(registered.id, "step", "active", {"number": number})
                assert (span.agent_instance_id, span.payload) == (registered.id, {"number": number})
                finish_span = partial(spans.finish, span.id, result_payload={"of": number})
                ended = await until_known(finish_span)
                assert (ended.id, ended.result_payload) == (span.id, {"of": number})
                status = "complete" if number % 3 else "failed"
                finished = await instances.finish(registered.id, status)
                assert (finished.id, finished.status) == (registered.id, status)

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(lifecycle(number))
    assert_applied_once(api, count)


def assert_applied_once(api: LocalPrefactor, count: int) -> None:
    assert api.doubled == []
    assert api.lost == []
    assert api.bytes_changed == []
    assert api.violations == []
    stats = api.stats()
    assert stats["keyless_writes"] == 0
    assert stats["effects"] == dict.fromkeys(
        (
            "agent_instances.register",
            "agent_instances.start",
            "agent_spans.create",
            "agent_spans.finish",
            "agent_instances.finish",
        ),
        count,
    )
    ends = sorted(instance["status"] for instance in api.instances.values())
    assert ends == ["complete"] * (count - (count + 2) // 3) + ["failed"] * ((count + 2) // 3)


@pytest.mark.parametrize("seed", [1, 2, 20261126])
async def test_nothing_is_duplicated_lost_or_raised_at_thirty_percent_faults(seed: int) -> None:
    async with LocalPrefactor(faults=0.3, seed=seed) as api:
        await run_lifecycles(api, request_timeout=0.5)
        assert sum(api.faults_injected.values()) >= 3
        assert api.replays > 0
        assert api.stats()["largest_bulk"] > 10


@pytest.mark.parametrize("seed", [1, 2, 20261126])
async def test_writes_are_verified_if_the_server_forgot_their_keys(seed: int) -> None:
    policy = IdempotencyPolicy(forget_when_lost=FORGOTTEN)
    async with LocalPrefactor(faults=0.3, seed=seed, fault_kinds=QUICK, policy=policy) as api:
        await run_lifecycles(api, max_items=10)  # more requests, and so more faults
        reads = [request for request in api.requests if request.method == "GET"]
        assert reads  # each verifies a write


@pytest.mark.parametrize(
    "options",
    [
        {"policy": IdempotencyPolicy(scope=KeyScope.ROUTE)},
        {"item_faults": 0.05},
        {"bulk_policy": BulkPolicy(max_items=10)},
        {"bulk_policy": BulkPolicy(unknown_types=UNKNOWN)},
    ],
    ids=["keys scoped to a route", "item faults", "few items", "unknown types"],
)
async def test_nothing_is_duplicated_lost_or_raised_by_other_servers(
    options: dict[str, Any],
) -> None:
    async with LocalPrefactor(faults=0.3, fault_kinds=QUICK, seed=7, **options) as api:
        await run_lifecycles(api, 100)


async def test_a_refused_request_says_nothing_about_the_calls_of_an_earlier_one() -> None:
    policy = BulkPolicy(unknown_types=UNKNOWN, on_unknown_type=OnUnknownType.REQUEST_ERROR)
    async with LocalPrefactor(faults=0.3, fault_kinds=QUICK, seed=7, bulk_policy=policy) as api:
        await run_lifecycles(api, 100, may_be_unknown=True)
    policy = BulkPolicy(unknown_types=UNKNOWN, on_unknown_type=OnUnknownType.REQUEST_ERROR)
    async with LocalPrefactor(bulk_policy=policy) as api:
        await run_lifecycles(api, 100)


@pytest.mark.parametrize(
    "options",
    [{"max_items": 3}, {"max_bytes": 900}, {"concurrency": 1}, {"linger": 0.002}],
    ids="-".join,
)
async def test_nothing_is_duplicated_lost_or_raised_with_other_options(
    options: dict[str, Any],
) -> None:
    async with LocalPrefactor(faults=0.3, fault_kinds=QUICK, seed=11) as api:
        await run_lifecycles(api, 100, **options)
