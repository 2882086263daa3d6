"""A block of code that is recorded in an outbox."""

import asyncio
import statistics
import time

import pytest
from outbox_support import SCHEMA, VERSION, client_of, until

from prefactor_http.outbox import Outbox, OutboxError, OutboxFullError


def run_of(outbox, api, **options):
    return outbox.run(api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, **options)


async def test_a_run_records_its_instance_and_spans(outbox, api):
    async with run_of(outbox, api) as run:
        assert run.recorded
        async with run.span("outer", {"n": 1}) as outer, run.span("inner") as inner:
            inner.result_payload = {"ok": True}
            assert inner.span.id == inner.id
        with pytest.raises(RuntimeError, match="not known"):
            _ = run.instance

    assert await outbox.flush(10)

    assert api.instances[run.id]["status"] == "complete"
    assert api.spans[inner.id]["parent_span_id"] == outer.id
    assert api.spans[inner.id]["result_payload"] == {"ok": True}
    assert api.spans[outer.id]["status"] == "complete"


async def test_a_block_that_raises_is_failed(outbox, api):
    with pytest.raises(ZeroDivisionError):
        async with run_of(outbox, api) as run, run.span("tool") as span:
            _ = 1 / 0
    assert await outbox.flush(10)
    assert api.instances[run.id]["status"] == "failed"
    assert api.spans[span.id]["status"] == "failed"


async def test_a_termination_reaches_the_run(outbox, api, client):
    async with run_of(outbox, api) as run:
        await until(lambda: run.id in api.instances and api.instances[run.id]["started_at"])
        await client.agent_instances.terminate(run.id, "stop it")
        async with run.span("tool"):
            pass
        await asyncio.wait_for(run.wait_until_terminated(), 10)
        assert run.termination_reason == "stop it"
    assert await outbox.flush(10)
    assert (await outbox.stats()).dead == 0


async def test_a_poll_notices_a_termination(outbox, api, client):
    async with run_of(outbox, api, poll_interval=0.02) as run:
        await until(lambda: run.id in api.instances and api.instances[run.id]["started_at"])
        await client.agent_instances.terminate(run.id, "stop it")
        await asyncio.wait_for(run.wait_until_terminated(), 10)


@pytest.mark.parametrize("required", [True, False])
async def test_no_cancellation_leaves_an_instance_active(outbox, api, required):
    """The task is cancelled after each number of iterations of the event loop."""

    async def block():
        async with run_of(outbox, api, required=required, poll_interval=None):
            await asyncio.sleep(60)

    for iterations in range(0, 120, 3):
        task = asyncio.create_task(block())
        for _ in range(iterations):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await outbox.flush(10)

    assert (await outbox.stats()).dead == 0
    statuses = {instance["status"] for instance in api.instances.values()}
    assert statuses == {"cancelled", "failed"}


async def test_a_run_whose_start_finds_no_room_is_ended_when_there_is(path, api, client, caplog):
    await api.stop()
    async with Outbox(path, client, max_items=1, when_full="wait") as outbox:
        async with run_of(outbox, api, start_timeout=0.05) as run:
            assert not run.recorded
        await api.start()
        ended = {"cancelled", "failed"}  # failed if there is room before the start is given up
        await until(lambda: {each["status"] for each in api.instances.values()} & ended)
        assert await outbox.flush(10)
        assert (await outbox.stats()).dead == 0
    assert "not started within 0.05 s" in caplog.text


async def test_a_start_that_is_given_up_is_not_recorded_later(path, api, client):
    await api.stop()
    options = {"finish_timeout": 0.05, "required": True, "poll_interval": None}
    async with Outbox(path, client, max_items=1, when_full="wait") as outbox:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05), run_of(outbox, api, **options):
                pytest.fail("the block ran")
        assert "was not cancelled: not recorded within 0.05 s" in str(
            caught.value.__cause__.__notes__
        )
        await api.start()
        assert await outbox.flush(10)
    assert [instance["status"] for instance in api.instances.values()] == ["pending"]


async def test_the_end_of_a_run_waits_for_room_for_a_limited_time(path, api, client):
    await api.stop()
    options = {"finish_timeout": 0.05, "required": True, "poll_interval": None}
    async with Outbox(path, client, max_items=3, when_full="wait") as outbox:
        run = await run_of(outbox, api, **options).__aenter__()
        span = await run.span("tool").__aenter__()
        problem = r"not recorded within 0\.05 s \(finish_timeout\): the outbox is full"
        for block in (span, run):
            with pytest.raises(OutboxError, match=problem):
                await block.__aexit__(None, None, None)
        await outbox.close(0)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "10"])
@pytest.mark.parametrize("name", ["start_timeout", "finish_timeout", "poll_interval"])
async def test_times_are_checked(outbox, api, name, seconds):
    with pytest.raises((TypeError, ValueError), match=name):
        run_of(outbox, api, **{name: seconds})


async def test_the_block_runs_although_the_outbox_is_full(path, api, client, caplog):
    await api.stop()
    async with Outbox(path, client, max_items=2) as outbox:
        # Its register and start fit.
        async with run_of(outbox, api) as run, run.span("tool") as span:
            assert span.id == ""
        async with run_of(outbox, api) as other:
            assert not other.recorded
        errors = [each for each in caplog.records if each.levelname == "ERROR"]
        assert len(errors) == 1
        with pytest.raises(OutboxFullError):
            async with run_of(outbox, api, required=True):
                pytest.fail("the block ran")
        await outbox.close(0)


async def test_a_run_adds_less_than_two_milliseconds_while_the_api_is_down(path, api):
    await api.stop()
    async with client_of(api) as client, Outbox(path, client) as outbox:
        durations = []
        for _ in range(20):
            started = time.perf_counter()
            async with run_of(outbox, api, poll_interval=None):
                pass
            durations.append(time.perf_counter() - started)
        assert statistics.median(durations) < 0.02  # it is 1 ms on an idle machine
        await outbox.close(0)
