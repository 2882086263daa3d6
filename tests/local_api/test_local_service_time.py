"""The service time of the local API: calls are worked on at once, bulk items one after another."""

import asyncio
import time

import pytest
from plain_caller import Caller, wait_for_attempts

from prefactor_http.testing import IdempotencyPolicy, LocalPrefactor, OnConcurrent


@pytest.fixture
async def slow(session):
    async with LocalPrefactor(service_time=0.03) as api:
        yield Caller(api, session)


@pytest.mark.virtual_time
async def test_calls_are_worked_on_at_once(slow):
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(slow.register() for _ in range(40)))
    assert loop.time() - started == pytest.approx(0.03)


async def test_items_are_worked_on_one_after_another(slow):
    started = time.perf_counter()
    response = await slow.bulk(*[slow.item() for _ in range(5)])
    assert len(response.json["outputs"]) == 5
    assert time.perf_counter() - started >= 5 * 0.03


async def test_reads_take_the_service_time_too(slow):
    started = time.perf_counter()
    assert (await slow.get("/ping")).status == 200
    assert time.perf_counter() - started >= 0.03


async def test_a_request_is_finished_after_its_client_disconnects(slow):
    items = [slow.item() for _ in range(4)]
    with pytest.raises(asyncio.TimeoutError):
        await slow.bulk(*items, total_timeout=0.05)
    assert len(slow.api.instances) < 4
    await slow.get("/ping")  # by now the server has seen the disconnect
    await slow.api.stop()  # ends the delays
    assert len(slow.api.instances) == 4
    await slow.api.start()
    response = await slow.bulk(*items)
    assert [output["status"] for output in response.json["outputs"].values()] == ["success"] * 4
    assert (slow.api.replays, slow.api.doubled) == (4, [])


async def test_an_item_waits_for_its_duplicate_in_another_request(slow):
    first, shared = slow.item(), slow.item()
    both = asyncio.create_task(slow.bulk(first, shared))
    await wait_for_attempts(slow.api, 1)
    # Works on the shared item while the other request works on its first.
    assert (await slow.bulk(shared)).status == 200
    outputs = (await both).json["outputs"]
    assert [output["status"] for output in outputs.values()] == ["success"] * 2
    assert (len(slow.api.instances), slow.api.replays) == (2, 1)


async def test_a_key_in_work_can_be_refused(slow):
    slow.api.policy = IdempotencyPolicy(concurrent=OnConcurrent.REFUSE)
    body = slow.registration()
    first = asyncio.create_task(slow.post("/agent_instance/register", body))
    await wait_for_attempts(slow.api, 1)
    refused = await slow.post("/agent_instance/register", body)
    assert (refused.status, refused.code) == (409, "idempotency_in_progress")
    assert (await first).status == 200


async def test_the_service_time_can_be_changed_and_ends_when_the_server_stops(slow):
    assert slow.api.service_time == 0.03
    slow.api.service_time = 30.0
    body = slow.registration()
    with pytest.raises(asyncio.TimeoutError):
        await slow.post("/agent_instance/register", body, total_timeout=0.1)
    assert not slow.api.instances
    await slow.api.stop()
    assert len(slow.api.instances) == 1
