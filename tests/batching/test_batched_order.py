"""Calls on one instance are sent in the order in which they were made."""

from __future__ import annotations

import asyncio
from typing import Any

from batching_support import (
    FakeApi,
    batching,
    error,
    failing,
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
from refusals import keys_in

from prefactor_http import PrefactorHttpClient

A, B, C, D, E = names("call", 5)


def create_span(
    view: PrefactorHttpClient, key: str, instance_id: str = "i-1", id: str | None = None
) -> asyncio.Task[Any]:
    call = view.agent_spans.create(instance_id, "llm", "active", id=id, idempotency_key=key)
    return asyncio.create_task(call)  # type: ignore[arg-type] # a coroutine


def finish_span(view: PrefactorHttpClient, key: str, id: str) -> asyncio.Task[Any]:
    call = view.agent_spans.finish(id, idempotency_key=key)
    return asyncio.create_task(call)  # type: ignore[arg-type] # a coroutine


async def test_calls_on_one_instance_are_sent_in_order_without_being_awaited(api: FakeApi) -> None:
    async with batching(api.server) as view:
        started, created, finished = await asyncio.gather(
            start(view, A), create_span(view, B), finish(view, C)
        )
    assert (started.status, finished.status) == ("active", "complete")
    assert created.agent_instance_id == "i-1"
    assert api.sent == [[A, B, C]]


async def test_a_call_on_an_instance_follows_its_registration_with_an_own_id(
    api: FakeApi,
) -> None:
    async with batching(api.server, {"max_items": 2}) as view:
        tasks = [register(view, A), register(view, B, id="own-1"), start(view, C, "own-1")]
        tasks += [register(view, D)]
        api.hold()
        await until(lambda: api.sent)
        await asyncio.sleep(0.15)  # a request in flight is overdue by now
        assert [key for request in api.sent for key in request].count(C) == 0
        api.release()
        results = await asyncio.gather(*tasks)
    assert [result.id for result in results] == [f"of-{A}", "own-1", "own-1", f"of-{D}"]
    sent = [key for request in api.sent for key in request]
    assert sent.index(B) < sent.index(C)


async def test_the_finish_of_a_span_with_an_own_id_follows_its_creation(api: FakeApi) -> None:
    async with batching(api.server, {"max_items": 2}) as view:
        tasks = [register(view, A), create_span(view, B, id="s-1"), finish_span(view, C, "s-1")]
        tasks += [register(view, D)]
        api.hold()
        await until(lambda: len(api.sent) == 2)
        assert sorted(api.sent) == [[A, B], ["direct", D]]
        api.release()
        results = await asyncio.gather(*tasks)
    assert [result.id for result in results[1:3]] == ["s-1", "s-1"]
    assert api.sent[2:] == [["direct", C]]


async def test_the_finish_of_an_instance_follows_the_finish_of_its_span(api: FakeApi) -> None:
    """The client has created the span, so it knows the instance."""
    async with batching(api.server) as view:
        created, _ = await asyncio.gather(create_span(view, A), register(view, B))
        api.hold()
        tasks = [finish_span(view, C, created.id), register(view, D), finish(view, E)]
        more = registers(view, *names("more", 2))
        api.release()
        await asyncio.gather(*tasks, *more)
    assert api.sent[1][:3] == [C, D, E]


async def test_calls_wait_while_another_one_on_their_instance_is_in_flight(api: FakeApi) -> None:
    """Calls on other instances do not."""
    async with batching(api.server) as view:
        api.hold()
        tasks = [start(view, A), register(view, B)]
        await until(lambda: api.sent)
        tasks += [finish(view, C), register(view, D), start(view, E, "i-2")]
        await until(lambda: len(api.sent) == 2)  # the request in flight is overdue
        assert api.sent == [[A, B], [D, E]]
        api.release()
        await asyncio.gather(*tasks)
    assert api.sent[2:] == [["direct", C]]


async def test_calls_wait_for_the_retry_of_a_request_with_another_one_on_their_instance(
    api: FakeApi,
) -> None:
    retrying = asyncio.Event()
    api.server.script(failing())
    async with batching(
        api.server,
        initial_retry_delay=0.1,
        max_retry_delay=0.1,
        on_retry=lambda _: retrying.set(),
    ) as view:
        tasks = [start(view, A), register(view, B)]
        await retrying.wait()
        tasks += [finish(view, C), register(view, D), register(view, E)]
        await asyncio.gather(*tasks)
    sent = [request for request in api.sent if A in request or C in request]
    assert sent == [[A, B], [A, B], ["direct", C]]


async def test_calls_on_other_instances_do_not_wait_for_a_retry(api: FakeApi) -> None:
    api.answer = lambda request: failing() if A in keys_in(request) else None
    gate = api.hold()
    async with batching(
        api.server, {"concurrency": 1}, initial_retry_delay=60.0, max_retry_delay=60.0
    ) as view:
        tasks = [start(view, A), register(view, B)]
        await until(lambda: api.sent)
        others = registers(view, C, D)
        await turns()
        gate.set()
        results = await asyncio.gather(*others)
        assert [result.external_identifier for result in results] == [C, D]
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await view.close(0.01)
    assert api.sent == [[A, B], [C, D]]


async def test_calls_on_an_instance_are_sent_in_order_after_one_that_is_not_attempted(
    api: FakeApi,
) -> None:
    """The API stops at a call on another instance, and the others are sent again in order."""
    api.output_of = lambda item: (
        error("not_found") if item["idempotency_key"] == B else output_of(item)
    )
    async with batching(api.server) as view:
        tasks = [start(view, A, "i-1"), start(view, B, "i-2"), finish(view, C, "i-1")]
        tasks += [finish(view, D, "i-2"), create_span(view, E, "i-1")]
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [False, True, *[False] * 3]
    assert api.sent == [[A, B, C, D, E], [C, D, E]]


async def test_a_request_is_split_between_the_calls_on_an_instance(api: FakeApi) -> None:
    """One of them fails whatever request contains it; those behind it succeed."""
    gate = asyncio.Event()

    async def answer(request: Request) -> bytes:
        keys = keys_in(request)
        if B in keys:
            return failing(500)
        if D in keys:
            await gate.wait()
        return api.respond(request)

    def on_retry(_: object) -> None:
        gate.set()

    api.server.answer = answer
    async with batching(api.server, {"max_items": 3}, max_retries=3, on_retry=on_retry) as view:
        tasks = [start(view, A), create_span(view, B), finish(view, C)]
        others = registers(view, D, E, "another-call")
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*others)
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    accepted = [key for request in api.sent if B not in request for key in request]
    assert accepted.index(A) < accepted.index(C)
    assert [request for request in api.sent if B in request][-1] == [B]


async def test_calls_keep_their_order_where_bulk_requests_are_too_slow(api: FakeApi) -> None:
    """Calls are made directly, without waiting for each other, unless they are on one instance."""

    async def answer(request: Request) -> bytes:
        if request.target.endswith("/bulk"):
            await asyncio.sleep(0.3)
        return api.respond(request)

    api.server.answer = answer
    async with batching(api.server) as view:
        await asyncio.gather(*registers(view, *names("slow", 8)))
        await register(view, "direct-call")
        await asyncio.gather(*registers(view, *names("more", 2)))
        number = len(api.sent)
        tasks = [start(view, A), finish(view, B), start(view, C, "i-2"), finish(view, D, "i-2")]
        await asyncio.gather(*tasks)
    sent = api.sent[number:]
    assert all(request[0] == "direct" for request in sent)
    order = [key for _, key in sent]
    assert sorted(order) == [A, B, C, D]
    assert sorted(order[:2]) == [A, C]
