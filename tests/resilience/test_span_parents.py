"""The parent of a span: the innermost block around it that has not ended."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from resilience_support import SCHEMA, VERSION, until


@pytest.fixture
async def client(api, client_for):
    return await client_for(api)


@pytest.fixture
def run(api, client):
    def call():
        return client.agent_instances.run(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
        )

    return call


@pytest.fixture
def parents(api):
    """Returns the names of spans with the names of their parents."""

    def of() -> dict[str, str | None]:
        names = {span["id"]: span["schema_name"] for span in api.spans.values()}
        return {
            span["schema_name"]: names.get(span["parent_span_id"]) for span in api.spans.values()
        }

    return of


async def leave(span):
    await span.__aexit__(None, None, None)


async def test_an_ended_overlapping_span_is_not_a_parent(run, parents):
    async with run() as handle:
        first, second = handle.span("first"), handle.span("second")
        await first.__aenter__()
        await second.__aenter__()
        await leave(first)
        async with handle.span("meanwhile"):
            pass
        await leave(second)
        async with handle.span("later"):
            pass
    assert parents() == {"first": None, "second": "first", "meanwhile": "second", "later": None}


async def test_a_span_around_overlapping_spans_is_the_parent_of_the_next_one(run, parents):
    async with run() as handle, handle.span("around"):
        first, second = handle.span("first"), handle.span("second")
        await first.__aenter__()
        await second.__aenter__()
        await leave(first)
        await leave(second)
        async with handle.span("later"):
            pass
    assert parents()["later"] == "around"


async def test_an_ended_span_is_not_a_parent_in_a_task_started_inside_it(run, parents):
    ended = asyncio.Event()

    async def later():
        await ended.wait()
        async with handle.span("later"):
            pass

    async with run() as handle, handle.span("around"):
        async with handle.span("ended"):
            task = asyncio.create_task(later())
        ended.set()
        await task
    assert parents() == {"around": None, "ended": "around", "later": "around"}


async def test_a_span_ended_by_another_task_is_not_a_parent(run, parents):
    async with run() as handle:
        span = handle.span("ended elsewhere")
        await span.__aenter__()
        await asyncio.create_task(leave(span))
        async with handle.span("later"):
            pass
    assert parents() == {"ended elsewhere": None, "later": None}


async def test_a_span_of_another_run_in_between_does_not_hide_the_parent(run, parents):
    async with (
        run() as first,
        first.span("outer"),
        run() as second,
        second.span("other"),
        first.span("inner"),
    ):
        pass
    assert parents() == {"outer": None, "other": None, "inner": "outer"}


@pytest.mark.parametrize("depth", [1, 3])
async def test_an_abandoned_generator_leaves_no_parent(api, run, parents, depth):
    def statuses():
        return [span["status"] for span in api.spans.values()]

    async with run() as handle, handle.span("around"):

        async def stream(level):
            async with handle.span(f"stream {level}"):
                if level:
                    async for item in stream(level - 1):
                        yield item
                else:
                    yield 1
                    yield 2

        async for _ in stream(depth - 1):
            break
        async with handle.span("later"):
            pass
        await until(lambda: statuses().count("failed") == depth)
    assert parents()["later"] == "around"


async def test_a_span_entered_by_a_generator_for_its_caller_is_a_parent(run, parents):
    async with run() as handle:

        @asynccontextmanager
        async def step(name):
            async with handle.span(name) as span:
                yield span

        async with step("outer"), AsyncExitStack() as stack:
            await stack.enter_async_context(step("middle"))
            async with handle.span("inner"):
                pass
    assert parents() == {"outer": None, "middle": "outer", "inner": "middle"}


async def test_a_span_inside_a_generator_has_the_generators_span_as_its_parent(run, parents):
    async with run() as handle:

        async def stream():
            async with handle.span("stream"), handle.span("within"):
                yield 1

        async for _ in stream():
            pass
    assert parents() == {"stream": None, "within": "stream"}


async def test_endlessly_overlapping_spans_do_not_accumulate(run):
    async with run() as handle:
        kept = []
        last = handle.span("step")
        await last.__aenter__()
        for _ in range(20):
            following = handle.span("step")
            await following.__aenter__()
            await leave(last)
            kept.append(weakref.ref(last._block))
            last = following
        gc.collect()
        assert sum(block() is not None for block in kept) <= 3
        kept.append(weakref.ref(last._block))
        await leave(last)
        del last, following
        gc.collect()
        assert kept[-1]() is None
