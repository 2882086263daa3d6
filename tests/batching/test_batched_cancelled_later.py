"""Batched calls that are cancelled after they were made: each moment has its own consequences."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batching_support import (
    FakeApi,
    batching,
    error,
    failing,
    failures,
    finish,
    names,
    output_of,
    register,
    registers,
    start,
    turns,
    until,
)
from raw_server import Request

A, B, C, D = names("call", 4)


async def cancelled(task: asyncio.Task[Any]) -> asyncio.CancelledError:
    """Cancel a call, and return its exception, whose attributes say what is known of the write."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


def what_is_known(exc: Any) -> tuple[str, bool]:
    return exc.idempotency_key, exc.outcome_unknown


async def test_a_waiting_call_leaves_the_queue(api: FakeApi) -> None:
    async with batching(api.server, {"concurrency": 1}) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        waiting = register(view, C)
        tasks.append(register(view, D))
        await turns()
        assert what_is_known(await cancelled(waiting)) == (C, False)
        api.release()
        await asyncio.gather(*tasks)
    assert api.sent == [[A, B], ["direct", D]]


async def test_a_call_in_flight_may_have_been_applied_and_the_others_have_their_results(
    api: FakeApi,
) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        assert what_is_known(await cancelled(tasks[0])) == (A, True)
        api.release()
        assert (await tasks[1]).external_identifier == B
    assert api.sent == [[A, B]]


async def test_a_request_whose_calls_are_all_cancelled_is_not_repeated(api: FakeApi) -> None:
    async with batching(api.server, {"concurrency": 1}) as view:
        api.server.script(failing())
        gate = asyncio.Event()
        api.server.on_request = gate.set
        tasks = registers(view, A, B)
        await gate.wait()
        for task in tasks:
            assert (await cancelled(task)).outcome_unknown  # type: ignore[attr-defined]
        later = registers(view, C, D)
        await asyncio.gather(*later)
    assert api.sent == [[A, B], [C, D]]


async def test_a_call_that_waits_for_a_retry_is_not_sent_again(api: FakeApi) -> None:
    api.server.script(failing())
    async with batching(api.server, initial_retry_delay=0.1, max_retry_delay=0.1) as view:
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        await asyncio.sleep(0.02)
        assert what_is_known(await cancelled(tasks[0])) == (A, True)
        assert (await tasks[1]).external_identifier == B
    assert [set(request) for request in api.sent] == [{A, B}, {B}]


async def test_a_call_whose_turn_has_just_come_is_not_sent(api: FakeApi) -> None:
    async with batching(api.server) as view:
        call = start(view, A)
        await asyncio.sleep(0)  # the call waits for its turn, which comes next
        asyncio.get_running_loop().call_soon(call.cancel)  # and then this
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
        assert what_is_known(caught.value) == (A, False)
        async with asyncio.timeout(5):
            assert (await start(view, B)).id == "i-1"  # its instance is free again
            await view.close()
    assert [keys[-1] for keys in api.sent] == [B]


async def test_a_result_that_has_just_arrived_is_lost_and_may_have_been_applied(
    api: FakeApi,
) -> None:
    """The call is cancelled between the arrival of its result and its task's next step."""
    async with batching(api.server) as view:
        tasks: list[asyncio.Task[Any]] = []

        async def first() -> None:
            await view.agent_instances.start("i-1", idempotency_key=A)
            tasks[1].cancel()  # its result has arrived with the same response

        tasks += [asyncio.create_task(first()), start(view, B, "i-2")]
        with pytest.raises(asyncio.CancelledError) as caught:
            await tasks[1]
        assert what_is_known(caught.value) == (B, True)
        await asyncio.gather(*registers(view, C, D))
    assert api.sent == [[A, B], [C, D]]


async def test_a_call_whose_outcome_is_being_verified_may_be_cancelled(api: FakeApi) -> None:
    api.server.script(failing())
    gate = asyncio.Event()

    async def answer(request: Request) -> bytes:
        if request.method == "GET":
            await gate.wait()
        return api.respond(request)

    def output(item: dict[str, Any]) -> dict[str, Any]:
        is_repeated = item["idempotency_key"] == A
        return error("invalid_action") if is_repeated else output_of(item)

    api.output_of = output
    api.server.answer = answer
    async with batching(api.server) as view:
        verified, other = finish(view, A), register(view, B)
        await until(lambda: any(request.method == "GET" for request in api.server.requests))
        await other
        later = finish(view, C)  # behind it, on the same instance
        await turns()
        assert what_is_known(await cancelled(verified)) == (A, True)
        gate.set()
        assert (await later).id == "i-1"
    assert [set(request) for request in api.sent] == [{A, B}, {A, B}, {B}, {"direct", C}]


async def test_a_direct_call_that_is_cancelled_holds_back_no_later_call(api: FakeApi) -> None:
    async with batching(api.server) as view:
        gate = api.hold()
        call = start(view, A)
        await until(lambda: api.sent)
        later = start(view, B)
        await turns()
        assert what_is_known(await cancelled(call)) == (A, True)
        api.gate = None
        assert (await later).id == "i-1"
        gate.set()
    assert api.sent == [["direct", A], ["direct", B]]


async def test_a_lone_call_that_is_cancelled_holds_back_no_later_call(api: FakeApi) -> None:
    async with batching(api.server) as view:
        for key in names("lone", 3):
            await register(view, key)
        gate = api.hold()
        call = start(view, A)
        await until(lambda: len(api.sent) == 4)
        assert what_is_known(await cancelled(call)) == (A, True)
        api.gate = None
        async with asyncio.timeout(5):
            assert (await start(view, B)).id == "i-1"
            await view.close()
        gate.set()
    assert api.sent[3:] == [["direct", A], ["direct", B]]


async def test_cancelling_all_calls_ends_a_close(api: FakeApi) -> None:
    async with batching(api.server, {"linger": 60}) as view:
        tasks = registers(view, A, B)
        await turns()
        tasks[0].cancel()
        tasks[1].cancel()
        await failures(tasks)
        async with asyncio.timeout(5):
            await view.close(60)
    assert api.sent == []


async def test_a_retry_that_waits_for_its_turn_is_not_sent_for_cancelled_calls(
    api: FakeApi,
) -> None:
    api.server.script(failing())
    delay = {"initial_retry_delay": 0.1, "max_retry_delay": 0.1}
    async with batching(api.server, {"concurrency": 1}, **delay) as view:
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        await asyncio.sleep(0.01)
        api.hold()
        others = registers(view, C, D)
        await until(lambda: len(api.sent) == 2)  # in flight, before the retry
        await asyncio.sleep(0.12)  # the retry is due
        for task in tasks:
            await cancelled(task)
        api.release()
        await asyncio.gather(*others)
    assert api.sent == [[A, B], [C, D]]
