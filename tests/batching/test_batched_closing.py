"""Closing a batching view or its client, while calls wait, are in flight or are verified."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batching_support import (
    FakeApi,
    Output,
    batching,
    config_of,
    error,
    failing,
    failures,
    finish,
    instance,
    items_in,
    names,
    output_of,
    register,
    registers,
    start,
    success,
    turns,
    until,
)
from raw_server import Request, reply

from prefactor_http import PrefactorClientError, PrefactorConflictError, PrefactorHttpClient
from prefactor_http._http.clock import SystemClock

A, B, C, D = names("call", 4)


def reconciling(api: FakeApi, status: str) -> asyncio.Event:
    """Lose the first response, refuse `finish` when it is repeated, and hold back reads.

    Returns:
        The event that lets reads through; they find an instance with this status.
    """
    api.server.script(failing())
    gate = asyncio.Event()

    def refuse(item: dict[str, Any]) -> Output:
        is_finish = item["_type"].endswith("/finish")
        return error("invalid_action") if is_finish else output_of(item)

    async def answer(request: Request) -> bytes:
        if request.method == "GET":
            await gate.wait()
            moment = items_in(api.server.requests[0])[0]["timestamp"]
            return reply(200, success(instance("i-1", status, finished_at=moment)))
        return api.respond(request)

    api.output_of = refuse
    api.server.answer = answer
    return gate


def reads(api: FakeApi) -> int:
    return sum(request.method == "GET" for request in api.server.requests)


class StoppedClock(SystemClock):
    """A clock for which no request ever takes long."""

    monotonic = staticmethod(lambda: 0.0)


async def test_closing_a_view_sends_the_calls_that_wait(api: FakeApi) -> None:
    """It does not wait for the request in flight, although that is not overdue."""
    async with PrefactorHttpClient(config_of(api.server), clock=StoppedClock()) as client:
        view = client.batched()
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        tasks += registers(view, C, D)
        await turns()
        closing = asyncio.create_task(view.close())
        await until(lambda: len(api.sent) == 2)
        api.release()
        await closing
        assert all(task.done() for task in tasks)
        assert [(await task).external_identifier for task in tasks] == [A, B, C, D]
    assert api.sent == [[A, B], [C, D]]


async def test_closing_the_client_sends_the_calls_that_wait_in_its_views(api: FakeApi) -> None:
    client = PrefactorHttpClient(config_of(api.server))
    one, other = client.batched(), client.batched()
    tasks = [*registers(one, A, B), *registers(other, C, D)]
    await turns(2)
    await client.close()
    assert [(await task).external_identifier for task in tasks] == [A, B, C, D]
    assert sorted(api.sent) == [[A, B], [C, D]]
    with pytest.raises(PrefactorClientError, match="client is closed"):
        await register(one, "later-call-1")


async def test_a_view_closes_once_for_all_who_close_it(api: FakeApi) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        closings = [asyncio.create_task(view.close()) for _ in range(3)]
        await turns()
        assert not any(closing.done() for closing in closings)
        api.release()
        await asyncio.gather(*closings)
        assert [(await task).external_identifier for task in tasks] == [A, B]


async def test_the_client_may_close_while_its_view_closes(api: FakeApi) -> None:
    client = PrefactorHttpClient(config_of(api.server))
    view = client.batched()
    api.hold()
    tasks = registers(view, A, B)
    await until(lambda: api.sent)
    closings = [asyncio.create_task(each.close()) for each in (view, client)]
    await turns()
    api.release()
    await asyncio.gather(*closings)
    assert [(await task).external_identifier for task in tasks] == [A, B]


async def test_calls_are_rejected_while_the_client_closes(api: FakeApi) -> None:
    client = PrefactorHttpClient(config_of(api.server))
    view = client.batched()
    api.hold()
    tasks = registers(view, A, B)
    await until(lambda: api.sent)
    closing = asyncio.create_task(client.close())
    await turns()
    with pytest.raises(PrefactorClientError, match="client is closed") as caught:
        await register(view, C)
    assert (caught.value.idempotency_key, caught.value.attempts) == (C, 0)
    assert caught.value.path == "/api/v1/agent_instance/register"
    assert not caught.value.outcome_unknown
    api.release()
    await closing
    await asyncio.gather(*tasks)


async def test_a_short_close_ends_a_longer_one(api: FakeApi) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        closing = asyncio.create_task(view.close(60))
        await turns()
        await view.close(0.01)
        await closing
        assert all(error.outcome_unknown for error in await failures(tasks))
        api.release()


async def test_a_client_that_is_entered_again_batches_again(api: FakeApi) -> None:
    client = PrefactorHttpClient(config_of(api.server))
    view = client.batched()
    for first, second in ((A, B), (C, D)):
        async with client:
            await asyncio.gather(*registers(view, first, second))
    assert api.sent == [[A, B], [C, D]]


async def test_a_call_that_is_made_directly_may_finish_while_its_view_closes(api: FakeApi) -> None:
    async with batching(api.server) as view:
        for key in names("lone", 3):
            await register(view, key)
        api.hold()
        lone = register(view, A)
        await until(lambda: len(api.sent) == 4)
        closing = asyncio.create_task(view.close())
        await turns()
        assert not closing.done()
        api.release()
        await closing
        assert (await lone).external_identifier == A


async def test_a_direct_call_that_outlasts_its_view_keeps_its_result(api: FakeApi) -> None:
    async with batching(api.server) as view:
        api.hold()
        call = register(view, A)
        await until(lambda: api.sent)
        await view.close(0.01)
        assert not call.done()
        api.release()
        assert (await call).external_identifier == A


async def test_a_call_that_waits_behind_a_direct_one_ends_when_the_time_is_over(
    api: FakeApi,
) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = [start(view, A)]
        await until(lambda: api.sent)
        tasks.append(start(view, B))
        await turns()
        await view.close(0.01)
        [failed] = await failures(tasks[1:])
        assert isinstance(failed, PrefactorClientError)
        assert (failed.attempts, failed.outcome_unknown) == (0, False)
        api.release()
        assert (await tasks[0]).id == "i-1"
    assert api.sent == [["direct", A]]


async def test_closing_ends_the_wait_for_an_overdue_response(api: FakeApi) -> None:
    async with batching(api.server, {"concurrency": 1}) as view:
        await asyncio.gather(*registers(view, *names("first", 2)))
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: len(api.sent) == 2)
        tasks += registers(view, C, D)
        await turns()
        await view.close(0)
        assert [e.outcome_unknown for e in await failures(tasks)] == [True, True, False, False]
        api.release()


async def test_closing_a_view_that_nobody_used_does_nothing(api: FakeApi) -> None:
    async with batching(api.server) as view:
        await view.close()
    assert api.sent == []


@pytest.mark.parametrize("status", ["complete", "active"])
async def test_closing_waits_until_an_unknown_outcome_is_verified(
    api: FakeApi, status: str
) -> None:
    gate = reconciling(api, status)
    async with batching(api.server) as view:
        task, other = finish(view, A), register(view, B)
        await until(lambda: reads(api))
        assert (await other).external_identifier == B  # does not wait for the read
        closing = asyncio.create_task(view.close())
        await turns()
        assert not closing.done()
        gate.set()
        await closing
        if status == "complete":
            assert (await task).status == "complete"
        else:
            with pytest.raises(PrefactorConflictError):
                await task


async def test_a_call_whose_outcome_is_not_verified_in_time_ends_as_unknown(api: FakeApi) -> None:
    gate = reconciling(api, "complete")
    async with batching(api.server) as view:
        task, other = finish(view, A), register(view, B)
        await until(lambda: reads(api))
        await other
        await view.close(0.01)
        [failed] = await failures([task])
        assert isinstance(failed, PrefactorClientError)
        assert failed.outcome_unknown
        assert (failed.idempotency_key, failed.attempts) == (A, 2)
        gate.set()


async def test_a_call_that_waits_for_its_own_retry_ends_when_the_time_is_over(
    api: FakeApi,
) -> None:
    def busy(item: dict[str, Any]) -> Output:
        is_first = item["idempotency_key"] == A
        return error("idempotency_in_progress") if is_first else output_of(item)

    api.output_of = busy
    async with batching(api.server, initial_retry_delay=30.0, max_retry_delay=30.0) as view:
        tasks = registers(view, A, B)
        await tasks[1]
        await view.close(0.01)
        [failed] = await failures(tasks[:1])
        assert isinstance(failed, PrefactorClientError)
        assert failed.idempotency_key == A


async def test_no_task_is_left_after_a_view_has_closed(api: FakeApi) -> None:
    before = asyncio.all_tasks()
    gate = reconciling(api, "complete")
    async with batching(api.server) as view:
        tasks = [finish(view, A), register(view, B)]
        await until(lambda: reads(api))
        await view.close(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        gate.set()
        servers = {task for task in asyncio.all_tasks() if "_serve" in repr(task)}
        assert asyncio.all_tasks() - before - servers == set()
