"""A 409 that an earlier attempt of the same call may have caused (design: idempotency)."""

from __future__ import annotations

import pytest

from prefactor_http import PrefactorConflictError
from prefactor_http.testing import Fault, FaultKind, IdempotencyPolicy, LocalPrefactor

ACTIONS = ("agent_instances.start", "agent_instances.finish", "agent_instances.terminate")


@pytest.fixture
async def api():
    """A server that forgets the keys of writes whose replies are lost."""
    async with LocalPrefactor(policy=IdempotencyPolicy(forget_when_lost=frozenset(ACTIONS))) as api:
        yield api


@pytest.fixture
async def client(api, client_for):
    return await client_for(api)


async def test_a_start_that_had_succeeded_is_a_success(api, client, register):
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    started = await client.agent_instances.start(instance.id)
    assert started.status == "active"
    assert [r.method for r in api.requests[-3:]] == ["POST", "POST", "GET"]


@pytest.mark.parametrize("status", [None, "complete", "failed"])
async def test_a_finish_that_had_succeeded_is_a_success(api, client, register, status):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    finished = await client.agent_instances.finish(instance.id, status)
    assert finished.status == (status or "complete")


async def test_a_cancelling_finish_that_had_succeeded_is_a_success(api, client, register):
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_500))
    assert (await client.agent_instances.finish(instance.id, "cancelled")).status == "cancelled"


async def test_a_terminate_that_had_succeeded_is_a_success(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    ended = await client.agent_instances.terminate(instance.id, "out of bounds")
    assert ended.status == "terminated"
    assert ended.termination_reason == "out of bounds"


async def test_a_finish_that_cannot_have_happened_is_raised_with_a_known_outcome(
    api, client, register
):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    await client.agent_instances.terminate(instance.id, "stop")
    api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.finish(instance.id)
    assert not caught.value.outcome_unknown
    assert caught.value.attempts == 2


async def test_a_start_that_another_call_made_is_not_ours(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    await client.agent_instances.terminate(instance.id, "stop")
    api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.start(instance.id)
    assert not caught.value.outcome_unknown


async def test_a_409_without_an_unknown_outcome_before_it_is_raised_unread(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=0))
    with pytest.raises(PrefactorConflictError):
        await client.agent_instances.start(instance.id)
    assert "GET" not in [request.method for request in api.requests]


async def test_a_409_that_cannot_be_settled_says_that_the_outcome_is_unknown(
    api, client_for, register, caplog
):
    client = await client_for(api, max_retries=1)
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    api.fail_next(*[Fault(FaultKind.UNAVAILABLE)] * 2, method="GET")
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.start(instance.id)
    assert caught.value.outcome_unknown
    assert "could not verify the outcome" in caplog.text
