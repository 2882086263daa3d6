"""When batched calls are sent, and with which others."""

from __future__ import annotations

import asyncio

import pytest
from batching_support import (
    FakeApi,
    batching,
    failing,
    names,
    register,
    registers,
    start,
    turns,
    until,
)

A, B, C, D, E = names("call", 5)


async def test_calls_that_are_made_together_share_a_request(api: FakeApi) -> None:
    async with batching(api.server) as view:
        results = await asyncio.gather(*registers(view, A, B, C))
    assert [result.external_identifier for result in results] == [A, B, C]
    assert api.sent == [[A, B, C]]


async def test_calls_that_are_made_during_a_request_share_the_next_one(api: FakeApi) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        for key in (C, D, E):
            tasks.append(register(view, key))
            await asyncio.sleep(0.005)
        assert api.sent == [[A, B]]
        api.release()
        await asyncio.gather(*tasks)
    assert api.sent == [[A, B], [C, D, E]]


async def test_a_call_that_waits_alone_is_made_directly(api: FakeApi) -> None:
    async with batching(api.server) as view:
        for key in names("lone", 6):
            assert (await register(view, key)).external_identifier == key
    assert api.sent == [["direct", key] for key in names("lone", 6)]


async def test_after_three_calls_alone_the_next_one_does_not_wait(api: FakeApi) -> None:
    """Calls that are made during it are batched, and keep the order of its instance."""
    async with batching(api.server) as view:
        for key in names("lone", 3):
            await register(view, key)
        api.hold()
        lone, same = start(view, A), start(view, B)
        others = registers(view, C, D)
        await until(lambda: len(api.sent) == 5)  # the lone call is overdue
        assert api.sent[3:] == [["direct", A], [C, D]]
        api.release()
        await asyncio.gather(lone, same, *others)
    assert api.sent[5:] == [["direct", B]]


async def test_calls_that_are_made_with_a_lone_call_wait_for_each_other_again(
    api: FakeApi,
) -> None:
    async with batching(api.server) as view:
        for key in names("lone", 4):
            await register(view, key)
        await asyncio.gather(*registers(view, A, B))
        await asyncio.gather(*registers(view, C, D))
    assert api.sent[4:6] == [["direct", A], ["direct", B]]
    assert api.sent[6:] == [[C, D]]


async def test_a_full_request_does_not_wait_for_the_one_in_flight(api: FakeApi) -> None:
    async with batching(api.server, {"max_items": 3}) as view:
        api.hold()
        tasks = registers(view, *names("first", 3))
        await until(lambda: len(api.sent) == 1)
        tasks += registers(view, A, B)
        await asyncio.sleep(0.01)
        assert len(api.sent) == 1
        tasks += registers(view, C, D)
        await until(lambda: len(api.sent) == 2)
        assert api.sent[1:] == [[A, B, C]]
        api.release()
        await asyncio.gather(*tasks)
    assert api.sent[2:] == [["direct", D]]


async def test_a_request_is_full_by_its_bytes(api: FakeApi) -> None:
    async with batching(api.server, {"max_bytes": 600}) as view:
        await asyncio.gather(*registers(view, *names("call", 6)))
    sizes = [len(request.body) for request in api.server.requests]
    assert len(sizes) > 1
    assert max(sizes) <= 600


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_requests_in_flight_are_at_most_the_concurrency(
    api: FakeApi, concurrency: int
) -> None:
    async with batching(api.server, {"max_items": 2, "concurrency": concurrency}) as view:
        api.hold()
        tasks = registers(view, *names("call", 12))
        await until(lambda: len(api.sent) == concurrency)
        await asyncio.sleep(0.4)  # they are overdue
        tasks.append(register(view, A))
        await asyncio.sleep(0.02)
        assert len(api.sent) == concurrency
        api.release()
        await asyncio.gather(*tasks)


async def test_another_request_is_sent_when_the_one_in_flight_is_overdue(api: FakeApi) -> None:
    async with batching(api.server) as view:
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: len(api.sent) == 1)
        tasks += registers(view, C, D)
        await until(lambda: len(api.sent) == 2)  # although the first has no response
        assert api.sent == [[A, B], [C, D]]
        api.release()
        await asyncio.gather(*tasks)


async def test_the_first_call_lingers_for_others(api: FakeApi) -> None:
    async with batching(api.server, {"linger": 0.1}) as view:
        tasks = registers(view, A)
        await asyncio.sleep(0.02)
        tasks += registers(view, B)
        await asyncio.gather(*tasks)
        assert api.sent == [[A, B]]


async def test_a_full_request_ends_the_linger(api: FakeApi) -> None:
    async with batching(api.server, {"linger": 60, "max_items": 2}) as view:
        tasks = registers(view, A)
        await turns()
        tasks += registers(view, B)
        await asyncio.gather(*tasks)
        last = register(view, C)
        await turns()
        assert api.sent == [[A, B]]
    assert (await last).external_identifier == C  # closing the view ends it, too
    assert api.sent[1:] == [["direct", C]]


async def test_calls_with_different_options_do_not_share_a_request(api: FakeApi) -> None:
    async with batching(api.server) as view:
        other = view.with_options(max_retries=1)
        with_deadline = view.with_options(deadline=20.0)
        tasks = [register(view, A), register(other, B), register(with_deadline, C)]
        tasks += [register(other, D)]
        await asyncio.gather(*tasks)
    assert sorted(api.sent) == [[A, C], [B, D]]


async def test_calls_with_different_options_keep_the_order_of_their_instance(api: FakeApi) -> None:
    async with batching(api.server) as view:
        other = view.with_options(max_retries=1)
        api.hold()
        tasks = [start(view, A), register(view, B), start(other, C), register(other, D)]
        await until(lambda: len(api.sent) == 2)
        assert api.sent == [[A, B], ["direct", D]]
        api.release()
        await asyncio.gather(*tasks)
    assert api.sent[2:] == [["direct", C]]


async def test_two_calls_with_the_same_key_are_in_different_requests(api: FakeApi) -> None:
    async with batching(api.server) as view:
        same = await asyncio.gather(register(view, A), register(view, A), register(view, B))
    assert [result.external_identifier for result in same] == [A, A, B]
    assert api.sent == [[A, B], ["direct", A]]


async def test_a_retry_does_not_wait_for_direct_calls(api: FakeApi) -> None:
    """The retry of a bulk request is sent while as many direct calls are in flight."""
    failed: list[str] = []
    release = asyncio.Event()

    async def answer(request):
        if not request.target.endswith("/bulk"):
            await release.wait()
        elif not failed:
            failed.append("once")
            return failing()
        return api.respond(request)

    api.server.answer = answer
    async with batching(api.server) as view:
        direct = [register(view, f"short{number}") for number in range(3)]  # for bulk requests
        both = registers(view, A, B)
        await asyncio.gather(*both)
        release.set()
        await asyncio.gather(*direct)
    assert api.sent.count([A, B]) == 2
