"""Nothing is lost or applied twice when a process ends and the API has forgotten keys."""

import asyncio

import pytest
from outbox_support import (
    assert_applied_once_and_in_order,
    client_of,
    record_lifecycle,
    register,
    until,
)

from prefactor_http.exceptions import PrefactorValidationError
from prefactor_http.outbox import Outbox, OutboxError
from prefactor_http.testing import Fault, FaultKind, IdempotencyPolicy

ACTIONS = (
    "agent_instances.register",
    "agent_instances.start",
    "agent_instances.finish",
    "agent_instances.record_quality",
    "agent_spans.create",
    "agent_spans.finish",
)
STALLED = Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=5.0)


async def stop_after_delivery(path, api, record):
    """Record, let the API apply it, and stop before the answer arrives."""
    api.fail_next(*[STALLED] * 20, path="/bulk")
    async with client_of(api, request_timeout=0.2) as client, Outbox(path, client) as outbox:
        receipts = await record(outbox)
        await until(lambda: len(api.effects) >= len(receipts))
        await outbox.close(drain_timeout=0)
    api.calm()
    return receipts


async def test_rows_that_were_applied_before_a_stop_are_not_applied_again(path, api, client):
    receipts = await stop_after_delivery(path, api, lambda outbox: record_lifecycle(outbox, api))
    async with Outbox(path, client) as outbox:
        assert (await outbox.stats()).pending == 5
        assert await outbox.flush(10)
        assert (await outbox.stats()).dead == 0
    assert_applied_once_and_in_order(api, receipts)


@pytest.mark.parametrize("external_identifier", [None, "run-1"])
async def test_nothing_is_applied_twice_when_all_keys_were_forgotten(
    path, api, client, external_identifier
):
    async def record(outbox):
        registered = await register(outbox, api, external_identifier=external_identifier)
        return [
            registered,
            await outbox.agent_instances.start(registered.id),
            created := await outbox.agent_spans.create(registered.id, "tool", "active"),
            await outbox.agent_spans.finish(created.id, result_payload={"n": 1}),
            await outbox.agent_instances.record_quality(registered.id, "score", {"n": 1}),
            await outbox.agent_instances.record_quality(registered.id, "other"),
            await outbox.agent_instances.finish(registered.id),
        ]

    schema = {"name": "other", "schema": {}}
    from outbox_support import SCHEMA

    SCHEMA["quality_schemas"].append(schema)
    try:
        receipts = await stop_after_delivery(path, api, record)
    finally:
        SCHEMA["quality_schemas"].remove(schema)
    api.forget_keys(ACTIONS)
    async with Outbox(path, client) as outbox:
        assert await outbox.flush(20)
        assert await outbox.dead_letters() == []
    assert_applied_once_and_in_order(api, receipts)


async def test_nothing_is_applied_twice_when_a_key_is_forgotten_with_its_answer(outbox, api):
    api.policy = IdempotencyPolicy(forget_when_lost=frozenset(ACTIONS))
    api.fail_next(*[FaultKind.APPLIED_THEN_RESET] * 4, path="/bulk")

    receipts = await record_lifecycle(outbox, api)
    await record_lifecycle(outbox, api)

    assert await outbox.flush(10)
    assert api.doubled == []
    assert await outbox.dead_letters() == []
    assert [await receipt.delivered(1) is not None for receipt in receipts] == [True] * 5


async def test_a_doubtful_write_that_the_api_refuses_is_a_dead_letter(path, api, client):
    async def record(outbox):
        registered = await register(outbox, api)
        bad = await outbox.agent_instances.register(api.agent_id, {"name": 1}, {})
        return registered, bad

    await api.stop()
    async with Outbox(path, client) as outbox:
        _, bad = await record(outbox)
        await asyncio.sleep(0.05)  # until the rows are in flight
        await outbox.close(0)
    await api.start()
    async with Outbox(path, client) as outbox:
        assert await outbox.flush(10)
        [letter] = await outbox.dead_letters()
    assert (letter.sequence, letter.state) == (bad.sequence, "refused")
    assert type(letter.exception) is PrefactorValidationError


async def test_a_receipt_of_a_closed_outbox_says_that_the_write_is_kept(path, api, client):
    await api.stop()
    async with Outbox(path, client) as outbox:
        receipt = await register(outbox, api)
        with pytest.raises(TimeoutError):
            await receipt.delivered(0.01)
        waiting = asyncio.create_task(receipt.delivered())
        await asyncio.sleep(0)
        await outbox.close(0)
    for delivered in (waiting, receipt.delivered()):
        with pytest.raises(OutboxError, match="it is kept"):
            await delivered


async def test_an_outbox_can_be_opened_again(path, api, client):
    outbox = Outbox(path, client)
    for _ in range(2):
        async with outbox:
            await record_lifecycle(outbox, api)
            assert await outbox.flush(10)
    with pytest.raises(OutboxError, match="not open"):
        await outbox.stats()
    async with outbox:
        with pytest.raises(OutboxError, match="open already"):
            await outbox.open()
        assert (await outbox.stats()).delivered == 10
    await outbox.close()
    await outbox.close()


async def test_writes_behind_a_payload_that_was_recorded_before_a_stop_are_delivered(
    path, api, client
):
    async with Outbox(path, client) as outbox:
        first = await register(outbox, api)
        assert await outbox.flush(10)

    async def record(outbox):
        receipts = [
            await outbox.agent_instances.record_quality(first.id, "score", {"n": 1}),
            await register(outbox, api),
            await register(outbox, api),
        ]
        await until(lambda: len(api.effects) == 4)
        await outbox.agent_instances.record_quality(first.id, "score", {"n": 2})
        return receipts

    await stop_after_delivery(path, api, record)
    # So that each of the two registers is sent alone.
    api.fail_next(*[FaultKind.RESET_BEFORE_READING] * 4, path="/bulk")
    async with Outbox(path, client, chunk_size=3) as outbox:
        assert await outbox.flush(10)
    assert len(api.effects) == 5
