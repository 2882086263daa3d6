"""Writes are recorded without the API, and delivered once and in order."""

import asyncio

from outbox_support import assert_applied_once_and_in_order, record_lifecycle, until

from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan
from prefactor_http.outbox import Outbox


async def test_a_receipt_gives_the_result_of_its_call(api, outbox):
    receipts = await record_lifecycle(outbox, api)

    results = [await receipt.delivered(10) for receipt in receipts]

    assert [type(result) for result in results] == [
        AgentInstance,
        AgentInstance,
        AgentSpan,
        AgentSpan,
        AgentInstance,
    ]
    assert [result.status for result in results] == [
        "pending",
        "active",
        "active",
        "complete",
        "complete",
    ]
    assert [result.id for result in results] == [receipt.id for receipt in receipts]
    assert [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]
    assert_applied_once_and_in_order(api, receipts)


async def test_concurrent_runs_share_requests_and_keep_their_order(api, outbox):
    runs = await asyncio.gather(*(record_lifecycle(outbox, api) for _ in range(100)))

    assert await outbox.flush(20)

    assert_applied_once_and_in_order(api, [receipt for run in runs for receipt in run])
    assert len(api.requests) < 50
    stats = await outbox.stats()
    assert (stats.pending, stats.bytes, stats.dead, stats.delivered) == (0, 0, 0, 500)


async def test_writes_of_an_outage_are_delivered_after_a_restart(api, client, path):
    await api.stop()
    async with Outbox(path, client) as outbox:
        receipts = await record_lifecycle(outbox, api)
        assert (await outbox.stats()).pending == 5
        await outbox.close(drain_timeout=0.05)

    await api.start()
    async with Outbox(path, client) as outbox:
        assert await outbox.flush(20)

    assert_applied_once_and_in_order(api, receipts)


async def test_an_outage_is_logged_and_has_no_limit(path, api, client, caplog):
    await api.stop()
    async with Outbox(path, client) as outbox:
        receipts = await record_lifecycle(outbox, api)
        await until(lambda: "the API seems to be down; trying until it responds" in caplog.text)
        await api.start()
        assert await receipts[-1].delivered(10)
