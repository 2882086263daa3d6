"""`run(..., required=False)`: the block runs whatever becomes of its record."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time

import pytest
from raw_server import RawServer
from resilience_support import SCHEMA, VERSION, until
from virtual_time import LoopClock, in_virtual_time

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.testing import Fault, FaultKind

REGISTER, START, FINISH = (
    f"agent_instances.{action}" for action in ("register", "start", "finish")
)
STALLED = Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=0.5)


@pytest.fixture
async def client(api, client_for):
    return await client_for(api, max_retries=0)


@pytest.fixture
def run(api, client):
    def call(**kwargs):
        kwargs = {"environment_id": api.environment_id, "required": False, **kwargs}
        return client.agent_instances.run(api.agent_id, VERSION, SCHEMA, **kwargs)

    return call


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.INFO, "prefactor_http")

    def messages():
        logged = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        # Each call that gives up logs that itself.
        return [message for message in logged if " gave up after " not in message]

    return messages


def statuses(api):
    return [instance["status"] for instance in api.instances.values()]


def other_tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_run_that_can_be_recorded_is_recorded(api, run, warnings):
    handle = run()
    assert not handle.recorded
    async with handle:
        assert handle.recorded
        assert statuses(api) == ["active"]
        async with handle.span("tool") as span:
            span.result_payload = {"answer": 42}
    assert handle.instance.status == statuses(api)[0] == "complete"
    assert span.span.status == "complete"
    assert warnings() == []


async def test_a_block_that_raises_is_finished_failed(api, run, warnings):
    with pytest.raises(KeyError):
        async with run() as handle, handle.span("tool") as span:
            raise KeyError("mine")
    assert (statuses(api), span.span.status) == (["failed"], "failed")
    assert warnings() == []


async def test_the_block_runs_if_the_register_is_refused(api, run, warnings):
    api.fail_next(FaultKind.TOO_LARGE, operation=REGISTER)
    async with run() as handle:
        assert not handle.recorded
        assert handle.id == ""
        with pytest.raises(RuntimeError, match=r"check run\.recorded"):
            _ = handle.instance
        async with handle.span("tool", {"input": 1}) as span:
            span.result_payload = {"answer": 42}
            assert (span.id, span.span) == ("", None)
        with pytest.raises(RuntimeError, match="once"):
            await span.__aenter__()
    with pytest.raises(RuntimeError, match="once"):
        await handle.__aenter__()
    (warning,) = warnings()
    assert warning.startswith("the run is not recorded: 413")
    assert len(api.requests) == 1
    assert not handle.terminated


async def test_the_block_runs_if_nobody_listens(warnings, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with PrefactorHttpClient(HttpClientConfig(url, "token-1234", max_retries=0)) as client:
        async with client.agent_instances.run("a", VERSION, SCHEMA, required=False) as handle:
            assert not handle.recorded
        assert not other_tasks()
    assert len(warnings()) == 1


async def test_the_block_runs_if_a_hook_of_the_caller_fails(api, client_for, warnings):
    class BrokenClockError(RuntimeError):
        pass

    class Clock(LoopClock):
        def utcnow(self):
            raise BrokenClockError("no time")

    client = await client_for(api, clock=Clock())
    async with client.agent_instances.run(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, required=False
    ) as handle:
        assert not handle.recorded
    assert warnings()[0] == "the run is not recorded: no time"
    await client.close(0.1)
    assert "may be left pending" in warnings()[-1]


async def test_an_exception_of_a_block_without_a_record_propagates(api, run):
    api.fail_next(FaultKind.TOO_LARGE, operation=REGISTER)
    with pytest.raises(KeyError) as caught:
        async with run() as handle, handle.span("tool"):
            raise KeyError("mine")
    assert not hasattr(caught.value, "__notes__")


async def test_a_slow_register_does_not_delay_the_block_and_is_cancelled(api, run, warnings):
    api.fail_next(STALLED, operation=REGISTER)
    begin = time.monotonic()
    async with run(start_timeout=0.1) as handle:
        assert time.monotonic() - begin < 0.4
        assert not handle.recorded
    await until(lambda: statuses(api) == ["cancelled"])
    assert warnings() == ["the run is not recorded: not started within 0.1 s (start_timeout)"]
    assert api.doubled == []


async def test_the_start_timeout_limits_register_and_start_together(api, run, warnings):
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.15), operation=REGISTER)
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.15), operation=START)
    async with run(start_timeout=0.2) as handle:
        assert not handle.recorded
    await until(lambda: statuses(api) in (["cancelled"], ["failed"]))
    assert len(warnings()) == 1


async def test_a_register_with_an_unknown_outcome_is_cancelled_in_the_background(
    api, run, warnings, caplog
):
    api.fail_next(*[FaultKind.APPLIED_THEN_RESET] * 2, operation=REGISTER)
    async with run() as handle:
        assert not handle.recorded
        assert statuses(api) == ["pending"]
        await until(lambda: statuses(api) == ["cancelled"])
    assert api.doubled == []
    await until(lambda: "was cancelled: it is not used" in caplog.text)
    assert len(warnings()) == 1


async def test_a_register_that_was_not_applied_after_all_is_not_repeated(api, run, warnings):
    api.fail_next(STALLED, operation=REGISTER)
    async with run(start_timeout=0.1, id="not-an-id"):
        await until(lambda: len(api.requests) == 1)
    await asyncio.sleep(0.6)
    assert len(api.requests) == 1
    assert len(warnings()) == 1


async def test_a_refused_start_is_cancelled_in_the_background(api, run, warnings):
    api.fail_next(FaultKind.TOO_LARGE, operation=START)
    async with run() as handle:
        assert not handle.recorded
        await until(lambda: statuses(api) == ["cancelled"])
    assert len(warnings()) == 1


async def test_a_start_that_was_applied_is_finished_failed(api, run):
    api.fail_next(FaultKind.APPLIED_THEN_RESET, operation=START)
    async with run() as handle:
        assert not handle.recorded
        await until(lambda: statuses(api) == ["failed"])


async def test_cancelling_in_the_background_is_repeated(api, run, warnings):
    api.fail_next(FaultKind.TOO_LARGE, operation=START)
    api.fail_next(FaultKind.INTERNAL_ERROR, operation=FINISH)
    async with run():
        await until(lambda: statuses(api) == ["cancelled"])
    assert len(warnings()) == 1


async def test_an_instance_that_cannot_be_cancelled_is_reported(api, run, warnings):
    api.fail_next(FaultKind.TOO_LARGE, operation=START)
    api.fail_next(FaultKind.TOO_LARGE, operation=FINISH)
    async with run():
        await until(lambda: len(warnings()) == 2)
    (instance_id,) = api.instances
    assert warnings()[1].startswith(f"agent instance {instance_id} may be left pending")


async def test_later_failures_are_logged_and_not_raised(api, run, warnings):
    async with run() as handle:
        api.fail_next(FaultKind.TOO_LARGE, operation="agent_spans.create")
        async with handle.span("lost") as lost:
            assert (lost.id, lost.span) == ("", None)
            async with handle.span("kept") as kept:
                pass
        api.fail_next(*[FaultKind.TOO_LARGE] * 2, operation="agent_spans.finish")
        async with handle.span("not finished") as unfinished:
            pass
        with contextlib.suppress(KeyError):
            async with handle.span("not finished either") as unfinished_too:
                raise KeyError("mine")
        api.fail_next(FaultKind.TOO_LARGE, operation=FINISH)
    assert kept.span.parent_span_id is None
    assert handle.recorded
    created, finished, finished_too, ended = warnings()
    assert created.startswith("a span 'lost' is not recorded: 413")
    assert finished.startswith(f"span {unfinished.id} was not finished: 413")
    assert finished_too.startswith(f"span {unfinished_too.id} was not finished: 413")
    assert ended.startswith(f"agent instance {handle.id} was not finished complete: 413")


async def test_a_result_that_cannot_be_encoded_is_logged(run, warnings):
    async with run() as handle, handle.span("tool") as span:
        span.result_payload = {"answer": object()}
    assert span.span.status == "failed"
    assert len(warnings()) == 1


async def test_arguments_are_still_checked(api, run, warnings):
    with pytest.raises(ValueError, match="purpose must be one of"):
        await run(purpose="fun").__aenter__()
    async with run() as handle:
        with pytest.raises(ValueError, match="schema_name must not be blank"):
            await handle.span("").__aenter__()
    assert warnings() == []


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["start_timeout", "finish_timeout", "poll_interval"])
def test_times_are_finite_numbers_greater_than_0(run, name, seconds):
    with pytest.raises(ValueError, match=f"{name} must be a finite number of seconds"):
        run(**{name: seconds})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(["start_timeout", "finish_timeout", "poll_interval"], ["5", True]),
        ("start_timeout", None),
        ("finish_timeout", None),
    ],
)
def test_times_are_numbers(run, name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number of seconds"):
        run(**{name: value})


@pytest.mark.parametrize("operation", [REGISTER, START])
async def test_a_cancellation_during_the_start_is_a_cancellation(api, run, operation):
    async def work():
        async with run():
            pytest.fail("the block must not run")

    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2), operation=operation)
    task = asyncio.create_task(work())
    await until(lambda: len(api.requests) == (1 if operation == REGISTER else 2))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses(api) in (["cancelled"], ["failed"])


async def test_closing_the_client_waits_for_the_cancellation(api, client_for):
    client = await client_for(api, max_retries=0)
    api.fail_next(FaultKind.APPLIED_THEN_RESET, operation=REGISTER)
    before = other_tasks()
    async with client.agent_instances.run(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, required=False
    ):
        pass
    await client.close()
    assert statuses(api) == ["cancelled"]
    assert {task for task in other_tasks() - before if "_cancel_late" in repr(task)} == set()


async def test_closing_the_client_gives_up_in_time_and_reports_the_key(api, client_for, warnings):
    client = await client_for(api, max_retries=0)
    api.fail_next(*[FaultKind.APPLIED_THEN_RESET] * 9, operation=REGISTER)
    async with client.agent_instances.run(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, required=False
    ):
        pass
    begin = time.monotonic()
    await client.close(drain_timeout=0.2)
    assert time.monotonic() - begin < 1
    (lost,) = [line for line in warnings() if "may be left pending" in line]
    assert lost.endswith("the client was closed")
    assert not [task for task in other_tasks() if "_cancel_late" in repr(task)]


def test_an_instance_that_never_appears_is_given_up_after_a_minute(warnings):
    async def scenario():
        loop = asyncio.get_running_loop()
        async with RawServer(answer=lambda _: b"") as server:
            config = HttpClientConfig(server.url, "token-1234", max_retries=0)
            async with PrefactorHttpClient(config, clock=LoopClock()) as client:
                async with client.agent_instances.run("a", VERSION, SCHEMA, required=False):
                    pass
                while len(warnings()) < 2:  # noqa: ASYNC110 # in virtual time
                    await asyncio.sleep(1)
                assert 59 <= loop.time() <= 62
            assert len({request.json["idempotency_key"] for request in server.requests}) == 1
            assert 5 <= len(server.requests) <= 12

    in_virtual_time(scenario())
    assert "may be left pending (idempotency key " in warnings()[1]


async def test_a_termination_is_noticed_by_polling(client, run):
    async with run(poll_interval=0.01) as handle:
        await client.agent_instances.terminate(handle.id, "over budget")
        await asyncio.wait_for(handle.wait_until_terminated(), 5)
    assert handle.termination_reason == "over budget"


def test_a_client_forgets_the_cancellations_of_an_event_loop_that_has_ended(prefactor_server):
    api = prefactor_server
    client = PrefactorHttpClient(HttpClientConfig(api.url, api.token, max_retries=0))

    async def abandon():
        api.fail_next(*[FaultKind.APPLIED_THEN_RESET] * 9, operation=REGISTER)
        async with client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, required=False
        ):
            await until(lambda: len(api.requests) == 2)
            await asyncio.sleep(0.05)

    async def use_it_again():
        await client.close()  # drops what belongs to the first loop
        async with asyncio.timeout(5):
            async with client:
                await client.validate_token()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandon())
    left = asyncio.all_tasks(loop)
    loop.close()
    asyncio.run(use_it_again())
    assert len(left) == 1
    for task in left:
        task._log_destroy_pending = False  # it never ends
        task.get_coro().close()
