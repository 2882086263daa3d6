"""Cancelled calls: a note on the exception has the key and says what may have been applied."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from resilience_support import until

from prefactor_http import BulkItem, BulkRequest
from prefactor_http.testing import Fault, FaultKind

STALLED = Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=5)


async def cancelled(call: Awaitable[Any], when: Awaitable[None]) -> asyncio.CancelledError:
    task = asyncio.ensure_future(call)
    await when
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


def note_of(error: BaseException) -> str:
    (note,) = error.__notes__
    return note


async def test_a_cancelled_write_in_flight_may_have_been_applied(api, client_for, register):
    client = await client_for(api)
    api.fail_next(STALLED)
    call = register(client, idempotency_key="key-1")
    error = await cancelled(call, until(lambda: api.requests))
    assert note_of(error) == (
        "agent_instances.register was cancelled: it may have been applied (idempotency key key-1)"
    )
    assert error.idempotency_key == "key-1"
    assert error.outcome_unknown is True
    await register(client, idempotency_key="key-1")
    assert len(api.instances) == 1


@pytest.mark.parametrize("options", [{}, {"deadline": 30}])
@pytest.mark.parametrize("how", ["timeout", "wait_for"])
async def test_a_timeout_around_a_call_has_the_note_in_its_cause(
    api, client_for, register, how, options
):
    client = await client_for(api, **options)
    api.fail_next(STALLED)

    async def limited() -> None:
        if how == "wait_for":
            await asyncio.wait_for(register(client), 0.2)
        async with asyncio.timeout(0.2):
            await register(client)

    with pytest.raises(TimeoutError) as caught:
        await limited()
    assert "it may have been applied (idempotency key " in note_of(caught.value.__cause__)


async def test_a_call_cancelled_while_it_waits_for_a_slot_was_not_sent(api, client_for, register):
    client = await client_for(api, max_connections=1)
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    before = asyncio.create_task(client.validate_token())
    await until(lambda: api.requests)
    error = await cancelled(register(client, idempotency_key="key-1"), asyncio.sleep(0.05))
    assert note_of(error) == (
        "agent_instances.register was cancelled: it was not sent (idempotency key key-1)"
    )
    assert error.outcome_unknown is False
    await before


async def test_a_call_cancelled_after_a_known_failure_was_not_applied(api, client_for, register):
    client = await client_for(api, initial_retry_delay=30, max_retry_delay=30)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=20))
    error = await cancelled(register(client, idempotency_key="key-1"), asyncio.sleep(0.1))
    assert note_of(error) == (
        "agent_instances.register was cancelled: it was not applied (idempotency key key-1)"
    )
    assert error.outcome_unknown is False


async def test_a_call_cancelled_after_a_lost_response_may_have_been_applied(
    api, client_for, register
):
    client = await client_for(api, initial_retry_delay=30, max_retry_delay=30)
    api.fail_next(FaultKind.APPLIED_THEN_500)
    error = await cancelled(register(client), asyncio.sleep(0.1))
    assert "it may have been applied" in note_of(error)
    assert len(api.instances) == 1


async def test_a_cancelled_bulk_request_points_to_the_keys_of_its_items(api, client_for):
    client = await client_for(api)
    api.fail_next(STALLED)
    item = BulkItem(_type="agents/show", idempotency_key="key-12345", agent_id=api.agent_id)
    call = client.bulk.execute(BulkRequest(items=[item]))
    error = await cancelled(call, until(lambda: api.requests))
    assert note_of(error) == (
        "bulk.execute was cancelled: it may have been applied "
        "(each item has its own idempotency key)"
    )


async def test_a_cancelled_read_has_no_note(api, client_for):
    client = await client_for(api)
    api.fail_next(STALLED)
    error = await cancelled(client.validate_token(), until(lambda: api.requests))
    assert not hasattr(error, "__notes__")
