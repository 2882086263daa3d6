"""`run`: a block of code as an agent instance."""

from __future__ import annotations

import asyncio

import pytest
from resilience_support import SCHEMA, VERSION

from prefactor_http import PrefactorApiError, PrefactorHttpError
from prefactor_http.testing import Fault, FaultKind


@pytest.fixture
async def client(api, client_for):
    return await client_for(api)


@pytest.fixture
def run(api, client):
    def call(**kwargs):
        return client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, **kwargs
        )

    return call


def status_of(api):
    (instance,) = api.instances.values()
    return instance["status"]


async def test_a_block_that_ends_is_finished_complete(api, run):
    async with run() as handle:
        assert status_of(api) == "active"
        assert handle.id in api.instances
    assert status_of(api) == "complete"
    assert handle.instance.status == "complete"


async def test_a_block_can_set_its_final_status(api, run):
    async with run() as handle:
        handle.finish_status = "failed"
    assert status_of(api) == "failed"


async def test_a_block_that_raises_is_finished_failed_and_the_exception_propagates(api, run):
    with pytest.raises(ZeroDivisionError):
        async with run():
            _ = 1 / 0
    assert status_of(api) == "failed"


async def test_a_cancelled_block_is_finished_failed(api, run):
    entered = asyncio.Event()

    async def work():
        async with run():
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert status_of(api) == "failed"


async def test_a_second_cancellation_does_not_interrupt_the_finish(api, run):
    entered = asyncio.Event()

    async def work():
        async with run():
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await entered.wait()
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert status_of(api) == "failed"


async def test_a_cancellation_during_the_finish_is_raised_after_it(api, run):
    body_done = asyncio.Event()

    async def work():
        async with run():
            body_done.set()

    task = asyncio.create_task(work())
    await body_done.wait()
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert status_of(api) == "complete"


async def test_the_finish_is_bounded_in_time(api, run):
    handle = run(finish_timeout=0.2)
    await handle.__aenter__()
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    with pytest.raises(PrefactorHttpError, match="deadline"):
        await handle.__aexit__(None, None, None)


async def fail_within(handle, api):
    async with handle:
        api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
        raise KeyError("mine")


async def test_the_blocks_exception_takes_precedence_over_a_failed_finish(api, run, caplog):
    handle = run(finish_timeout=0.2)
    with pytest.raises(KeyError) as caught:
        await fail_within(handle, api)
    assert any("was not finished failed" in note for note in caught.value.__notes__)
    assert "was not finished failed" in caplog.text


async def test_a_finish_that_fails_while_cancelled_is_logged(api, run, caplog):
    body_done = asyncio.Event()

    async def work():
        async with run(finish_timeout=0.3):
            api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
            body_done.set()

    task = asyncio.create_task(work())
    await body_done.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "finishing failed while the task was cancelled" in caplog.text


async def test_a_start_that_is_refused_cancels_the_instance(api, run):
    api.fail_next(Fault(FaultKind.TOO_LARGE), operation="agent_instances.start")
    with pytest.raises(PrefactorApiError):
        async with run():
            pytest.fail("the block must not run")
    assert status_of(api) == "cancelled"


async def test_a_start_with_an_unknown_outcome_is_finished_failed_if_it_was_applied(
    api, client_for
):
    client = await client_for(api, max_retries=0)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET), operation="agent_instances.start")
    with pytest.raises(PrefactorHttpError):
        async with client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
        ):
            pytest.fail("the block must not run")
    assert status_of(api) == "failed"


async def test_an_instance_that_cannot_be_cancelled_is_named(api, client_for, caplog):
    client = await client_for(api, max_retries=0)
    api.fail_next(Fault(FaultKind.TOO_LARGE), operation="agent_instances.start")
    api.fail_next(Fault(FaultKind.TOO_LARGE), operation="agent_instances.finish")
    with pytest.raises(PrefactorApiError) as caught:
        async with client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
        ):
            pytest.fail("the block must not run")
    assert any("was not cancelled" in note for note in caught.value.__notes__)
    assert "was not cancelled" in caplog.text


async def test_a_run_has_an_id_once_entered_and_can_be_entered_only_once(run):
    handle = run()
    with pytest.raises(RuntimeError, match="no instance yet"):
        _ = handle.id
    async with handle:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await handle.__aenter__()
