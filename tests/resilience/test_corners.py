"""Race conditions: two events at the same time, or in a rare order."""

from __future__ import annotations

import asyncio

import pytest
from resilience_support import SCHEMA, VERSION, ManualClock, until

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorNotFoundError,
)
from prefactor_http.testing import ErrorBody, Fault, FaultKind


class StubbornClock(ManualClock):
    """A clock whose sleep swallows cancellations, as careless code does."""

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.now += seconds


async def test_a_slot_granted_during_a_cancellation_goes_to_the_next_waiter(
    api, client_for, register
):
    waiting = []
    client = await client_for(
        api,
        max_connections=1,
        # The hook runs after the slot was granted and before the task that got it runs.
        on_attempt=lambda _: waiting[0].cancel() if waiting else None,
    )
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
    first = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    waiting += [asyncio.create_task(register(client)) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert (await first).status == "pending"
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert (await asyncio.wait_for(waiting[1], 10)).status == "pending"


async def test_a_shorter_retry_after_does_not_end_the_pause_early(api, client_for, register):
    clock = ManualClock()
    client = await client_for(api, clock=clock, max_retries=0, max_retry_delay=60.0)
    api.fail_next(
        Fault(FaultKind.DELAYED, seconds=0.1),
        Fault(FaultKind.RATE_LIMITED, retry_after=40),
    )
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=2))
    slow = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    refused = await asyncio.gather(register(client), register(client), return_exceptions=True)
    assert [type(error).__name__ for error in refused] == ["PrefactorRateLimitError"] * 2
    await slow
    await register(client)
    assert sum(clock.sleeps) > 35


async def test_a_client_that_closes_during_a_pause_fails_the_call(api, client_for, register):
    client = await client_for(api, max_retries=0, max_retry_delay=60.0)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=40))
    with pytest.raises(PrefactorHttpError):
        await register(client)
    call = asyncio.create_task(register(client))
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(PrefactorClientError) as caught:
        await asyncio.wait_for(call, 5)
    assert caught.value.attempts == 0
    assert not caught.value.outcome_unknown


async def test_a_call_cancelled_at_the_rate_limiter_releases_its_slot(api, client_for, register):
    clock = ManualClock()
    client = await client_for(api, max_connections=1, max_retries=0, max_retry_delay=60.0)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=1))
    with pytest.raises(PrefactorHttpError):
        await register(client)
    call = asyncio.create_task(register(client))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await asyncio.wait_for(register(client), 20)).status == "pending"
    assert clock.sleeps == []


async def test_a_cancellation_that_was_not_delivered_is_undone(api, client_for, register):
    client = await client_for(api, clock=StubbornClock(), max_retry_delay=60.0)
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=5))
    cancelling = []

    async def call():
        try:
            await register(client)
        finally:
            task = asyncio.current_task()
            assert task is not None
            cancelling.append(task.cancelling())

    task = asyncio.create_task(call())
    await until(lambda: api.requests)
    await asyncio.sleep(0.05)
    await client.close(drain_timeout=0)
    with pytest.raises(PrefactorClientError):
        await asyncio.wait_for(task, 5)
    assert cancelling == [0]


async def test_a_cancelled_call_with_a_deadline_is_cancelled(api, client_for, register):
    client = await client_for(api, deadline=30.0)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_the_deadline_includes_the_reconciliation_of_a_409(api, client_for, register):
    client = await client_for(api, deadline=30.0)
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    started = client.agent_instances.start(instance.id)
    api.forget_keys(["agent_instances.start"])
    assert (await started).status == "active"


async def test_an_adapter_can_set_its_sdk_header_after_construction(api, client_for, register):
    client = await client_for(api)
    await register(client)
    client._sdk_header = f"prefactor-core@0.5.3 {client._sdk_header}"
    await register(client.with_options(max_retries=1))
    assert [request.headers["X-Prefactor-SDK"] for request in api.requests] == [
        "prefactor-http@1.0.0",
        "prefactor-core@0.5.3 prefactor-http@1.0.0",
    ]


async def test_with_options_names_unknown_options(api, client_for):
    client = await client_for(api)
    with pytest.raises(TypeError, match=r"cannot change max_connections; it can change deadline"):
        client.with_options(max_connections=7)
    with pytest.raises(ValueError, match="max_retries must be non-negative"):
        client.with_options(max_retries=-1)


async def test_an_unassigned_status_has_a_message(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.INTERNAL_ERROR, status=599, body=ErrorBody.EMPTY))
    with pytest.raises(PrefactorApiError, match="599: unassigned status"):
        await register(client)


async def test_a_client_in_use_can_still_be_entered(api, client_for, register):
    client = await client_for(api)
    await register(client)
    async with client:
        assert (await register(client)).status == "pending"


async def test_an_adapter_can_set_its_sdk_header_before_the_first_call(api, register):
    client = PrefactorHttpClient(HttpClientConfig(api.url, api.token), "outer@1")
    client._sdk_header = "outer@2"
    await register(client)
    assert api.requests[0].headers["X-Prefactor-SDK"] == "outer@2"
    await client.close()


async def test_two_concurrent_closes_interrupt_a_call_once(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    closings = [client.close(drain_timeout=0), client.close(drain_timeout=0)]
    await asyncio.gather(*closings)
    with pytest.raises(PrefactorClientError):
        await asyncio.wait_for(call, 5)


async def test_two_concurrent_closes_both_wait_for_calls_in_flight(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.2))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await asyncio.wait_for(asyncio.gather(client.close(60), client.close(60)), 20)
    assert (await call).status == "pending"


async def test_a_run_whose_tasks_are_all_cancelled_ends(api, client_for):
    client = await client_for(api)
    body_done = asyncio.Event()

    async def work():
        async with client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
        ):
            api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
            body_done.set()

    others = asyncio.all_tasks()
    asyncio.create_task(work())  # noqa: RUF006 # found below, together with the task that finishes it
    await body_done.wait()
    await asyncio.sleep(0.05)
    names = {"work", "_end"}
    tasks = {
        task
        for task in asyncio.all_tasks() - others
        if names & set(task.get_coro().__qualname__.split("."))
    }
    assert len(tasks) == 2
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=10)
    assert all(task.cancelled() for task in done)
    assert len(done) == 2


async def test_a_timer_without_remaining_blocks_is_removed(api, client_for, register):
    client = await client_for(api, request_timeout=0.3, max_retries=9)
    await register(client)
    await asyncio.sleep(0.5)  # the timer of the first attempt has run by now
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    assert (await register(client)).status == "pending"  # the next attempt starts a new one


async def test_an_api_error_after_retries_returns_their_tokens_to_the_budget(
    api, client_for, register
):
    client = await client_for(api, clock=ManualClock(), retry_budget=10, max_retries=1)
    for _ in range(4):
        api.fail_next(Fault(FaultKind.UNAVAILABLE))
        with pytest.raises(PrefactorNotFoundError):
            await client.agent_instances.get("0" * 32)


async def test_a_call_cancelled_in_its_backoff_returns_its_tokens(api, client_for, register):
    client = await client_for(
        api, retry_budget=10, initial_retry_delay=30.0, max_retry_delay=30.0, max_retries=1
    )
    for turn in range(4):
        api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
        call = asyncio.create_task(register(client))
        await until(lambda turn=turn: len(api.requests) > turn)
        await asyncio.sleep(0.05)
        assert not call.done()  # it waits; with an empty budget it would have failed
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.asyncio(loop_factories=["asyncio"])  # inspects the timers
async def test_many_different_deadlines_leave_no_timers(api, client_for, register):
    client = await client_for(api)
    loop = asyncio.get_running_loop()
    for number in range(60):
        await client.with_options(deadline=100 + number / 7).validate_token()
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]
    assert len(timers) < 30


async def test_a_batch_ends_at_an_untrusted_certificate(client_for, untrusted_tls_server):
    client = await client_for(untrusted_tls_server)
    stream = client.agent_instances.register_many(
        [{"external_identifier": "one"}, {"external_identifier": "two"}],
        agent_version=VERSION,
        agent_schema_version=SCHEMA,
    )
    outcomes = []

    async def follow():
        async for outcome in stream:
            outcomes.append(outcome)  # noqa: PERF401 # keeps the results before the error

    with pytest.raises(PrefactorConnectionError, match="certificate"):
        await follow()
    assert [outcome.failed for outcome in outcomes] == [True, True]
