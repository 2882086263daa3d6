"""Closing, cancelling, event loops and forks: a client leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import psutil
import pytest
from resilience_support import until

from prefactor_http import HttpClientConfig, PrefactorClientError, PrefactorHttpClient
from prefactor_http.testing import Fault, FaultKind

CALLS = {
    "register": lambda client, register, instance_id: register(client),
    "start": lambda client, register, instance_id: client.agent_instances.start(instance_id),
    "finish": lambda client, register, instance_id: client.agent_instances.finish(
        instance_id, "cancelled"
    ),
    "get": lambda client, register, instance_id: client.agent_instances.get(instance_id),
    "list": lambda client, register, instance_id: client.agent_instances.list(),
    "terminate": lambda client, register, instance_id: client.agent_instances.terminate(
        instance_id, "x"
    ),
    "record_quality": lambda client, register, instance_id: client.agent_instances.record_quality(
        instance_id, "q", {}
    ),
    "request": lambda client, register, instance_id: client.request("GET", "/api/v1/ping"),
    "validate_token": lambda client, register, instance_id: client.validate_token(),
}


@pytest.fixture
def api(prefactor_server):
    """The server in its own thread, so that all tasks of this event loop belong to the client."""
    return prefactor_server


def connections_to(api):
    port = int(api.url.rpartition(":")[2])
    return [
        connection
        for connection in psutil.Process().net_connections("tcp4")
        if connection.raddr and connection.raddr.port == port
    ]


async def test_closing_drains_calls_in_flight(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.3))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await client.close()
    assert call.done()
    assert (await call).status == "pending"


async def test_closing_interrupts_calls_that_outlast_the_drain(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await client.close(drain_timeout=0.05)
    with pytest.raises(PrefactorClientError, match="closed") as caught:
        await call
    assert caught.value.outcome_unknown
    assert caught.value.attempts == 1


async def test_closing_wakes_calls_that_wait_for_a_retry(api, client_for, register):
    client = await client_for(api, initial_retry_delay=50.0, max_retry_delay=60.0)
    api.fail_next(Fault(FaultKind.UNAVAILABLE, retry_after=40))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await asyncio.sleep(0.05)
    await asyncio.wait_for(client.close(), 5)
    with pytest.raises(PrefactorClientError, match="closed") as caught:
        await asyncio.wait_for(call, 5)
    assert caught.value.outcome_unknown  # a 503 may have been applied
    assert caught.value.attempts == 1


async def test_closing_fails_calls_that_wait_for_a_slot(api, client_for, register):
    client = await client_for(api, max_connections=1)
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.3))
    first = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    second = asyncio.create_task(register(client))
    await asyncio.sleep(0.02)
    await client.close()
    assert (await first).status == "pending"
    with pytest.raises(PrefactorClientError) as caught:
        await second
    assert not caught.value.outcome_unknown
    assert len(api.requests) == 1


async def test_a_deadline_does_not_hide_that_the_client_was_closed(api, client_for, register):
    client = await client_for(api, deadline=30.0)
    api.fail_next(Fault(FaultKind.STALLED_IN_BODY))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await client.close(drain_timeout=0.05)
    with pytest.raises(PrefactorClientError, match="closed") as caught:
        await call
    assert caught.value.outcome_unknown


async def test_a_closed_client_rejects_calls_until_it_is_entered_again(api, client_for, register):
    client = await client_for(api)
    await client.close()
    await client.close()
    with pytest.raises(PrefactorClientError, match="closed") as caught:
        await register(client)
    assert caught.value.path == "/api/v1/agent_instance/register"
    assert caught.value.idempotency_key is not None
    assert caught.value.attempts == 0
    async with client:
        assert (await register(client)).status == "pending"


async def test_a_client_entered_while_it_closes_stays_open(api, client_for, register):
    client = await client_for(api, max_connections=1)
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.1))
    in_flight = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    async with client:
        await closing
        assert (await in_flight).status == "pending"
        assert (await register(client)).status == "pending"


async def test_a_client_works_without_async_with(api, register):
    client = PrefactorHttpClient(HttpClientConfig(api.url, api.token))
    assert (await register(client)).status == "pending"
    await client.close()


async def test_closing_an_unused_client_is_safe(api):
    await PrefactorHttpClient(HttpClientConfig(api.url, api.token)).close()


async def test_closing_a_view_leaves_the_client_open(api, client_for, register):
    client = await client_for(api)
    async with client.with_options(max_retries=0) as view:
        assert (await register(view)).status == "pending"
    assert (await register(client)).status == "pending"


async def test_a_close_that_is_cancelled_still_closes_the_session(api, client_for, register):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    call = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    closing = asyncio.create_task(client.close(drain_timeout=30))
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(PrefactorClientError):
        await asyncio.wait_for(call, 5)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_cancelled_at_any_await_leaves_no_connection_and_no_task(
    api, client_for, register, name
):
    client = await client_for(api)
    instance = await register(client)
    before = asyncio.all_tasks()
    for steps in range(40):
        task = asyncio.create_task(CALLS[name](client, register, instance.id))
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            await asyncio.wait([task])
            task.exception()
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    await until(lambda: asyncio.all_tasks() == before)
    assert (await client.agent_instances.get(instance.id)).id == instance.id
    await client.close(drain_timeout=0.1)
    await until(lambda: not connections_to(api))


@pytest.mark.parametrize(
    "kind", [FaultKind.STALLED_BEFORE_REPLY, FaultKind.STALLED_IN_BODY, FaultKind.UNAVAILABLE]
)
async def test_a_call_cancelled_in_an_attempt_or_backoff_leaves_nothing(
    api, client_for, register, kind
):
    client = await client_for(api, initial_retry_delay=30.0, max_retry_delay=30.0)
    before = asyncio.all_tasks()
    api.fail_next(Fault(kind, retry_after=20 if kind is FaultKind.UNAVAILABLE else None))
    task = asyncio.create_task(register(client))
    await until(lambda: api.requests)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: asyncio.all_tasks() == before)
    await client.close(drain_timeout=0.1)
    await until(lambda: not connections_to(api))


async def test_a_timeout_of_the_caller_raises_timeout_error_in_the_caller(
    api, client_for, register
):
    client = await client_for(api)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY))
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await register(client)
    assert type(caught.value) is TimeoutError
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


def test_a_client_used_on_a_second_event_loop_raises(prefactor_server):
    client = PrefactorHttpClient(HttpClientConfig(prefactor_server.url, prefactor_server.token))
    session_of_first = asyncio.new_event_loop()
    session_of_first.run_until_complete(client.validate_token())
    with pytest.raises(PrefactorClientError, match="another event loop"):
        asyncio.run(client.validate_token())
    session_of_first.run_until_complete(client.close())
    session_of_first.close()

    async def again():
        async with client:
            return await client.validate_token()

    assert asyncio.run(again())["status"] == "success"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_client_used_in_a_forked_child_raises():
    program = """
import asyncio, os, sys
from prefactor_http import HttpClientConfig, PrefactorClientError, PrefactorHttpClient
from prefactor_http.testing import LocalPrefactor

async def parent():
    async with LocalPrefactor() as api:
        client = PrefactorHttpClient(HttpClientConfig(api.url, api.token))
        await client.validate_token()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio._set_running_loop(None)
                asyncio.new_event_loop().run_until_complete(client.validate_token())
            except PrefactorClientError as exc:
                code = 0 if "fork" in str(exc) else 2
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1])
        await client.close()
        sys.exit(code)

asyncio.run(parent())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
