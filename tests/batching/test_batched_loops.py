"""Batching views outside their event loop: on another loop, after it closed, in a forked child."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from batching_support import (
    FakeApi,
    config_of,
    failures,
    names,
    output_of,
    register,
    registers,
    turns,
    until,
)
from raw_server import RawServer, reply
from threaded_server import ThreadedServer

from prefactor_http import PrefactorClientError, PrefactorHttpClient
from prefactor_http._values import forks

A, B, C, D = names("call", 4)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def outputs(*keys: str) -> bytes:
    """The response to a bulk request of registers, after which the connection is closed."""
    items = [
        {"_type": "agent_instances/register", "idempotency_key": key, "external_identifier": key}
        for key in keys
    ]
    body = {"status": "success", "outputs": {i["idempotency_key"]: output_of(i) for i in items}}
    return reply(200, body, Connection="close")


def test_a_view_does_not_close_on_another_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def begin() -> tuple[FakeApi, PrefactorHttpClient, PrefactorHttpClient, list[Any]]:
        api = FakeApi(await RawServer().__aenter__())
        client = PrefactorHttpClient(config_of(api.server))
        view = client.batched()
        api.hold()
        tasks = registers(view, A, B)
        await until(lambda: api.sent)
        return api, client, view, [*tasks, *registers(view, C, D)]

    api, client, view, tasks = loop.run_until_complete(begin())
    for closing in (view, client):
        with pytest.raises(PrefactorClientError, match="another event loop"):
            asyncio.run(closing.close())

    async def end() -> None:
        api.release()
        assert [(await task).external_identifier for task in tasks] == [A, B, C, D]
        await register(view, "later-call-1")  # it is still open
        await view.close()
        await client.close()
        await api.server.__aexit__()

    loop.run_until_complete(end())


async def call_elsewhere(view: PrefactorHttpClient) -> None:
    with pytest.raises(PrefactorClientError, match="another event loop") as caught:
        await register(view, C)
    assert (caught.value.idempotency_key, caught.value.attempts) == (C, 0)
    assert caught.value.path == "/api/v1/agent_instance/register"


def test_a_view_whose_loop_is_closed_works_again_after_its_client_was_entered(
    loop: asyncio.AbstractEventLoop,
) -> None:
    server = ThreadedServer()
    server.answer = reply(503, {}, Connection="close")
    client = PrefactorHttpClient(
        config_of(server, initial_retry_delay=30.0, max_retry_delay=30.0, request_timeout=0.2)
    )
    view = client.batched(max_items=2, linger=60)

    async def begin() -> list[Any]:
        tasks = registers(view, A, B)  # wait for a retry
        await until(lambda: server.requests)
        await asyncio.sleep(0.1)
        tasks += registers(view, C)  # waits for others
        await turns()
        return tasks

    tasks = loop.run_until_complete(begin())
    pending = asyncio.all_tasks(loop)
    loop.close()

    async def again() -> None:
        await call_elsewhere(view)
        await client.close()
        server.answer = outputs(A, B)
        async with client:
            both = await asyncio.gather(*registers(view, A, B))
            assert [each.external_identifier for each in both] == [A, B]

    asyncio.run(again())
    assert not any(task.done() for task in tasks)
    for task in pending:
        task._log_destroy_pending = False  # type: ignore[attr-defined] # they never end
        task.get_coro().close()  # type: ignore[union-attr] # a coroutine
    server.close()


def test_a_view_whose_loop_is_closed_can_be_closed(loop: asyncio.AbstractEventLoop) -> None:
    server = ThreadedServer()
    server.answer = outputs(A, B)
    client = PrefactorHttpClient(config_of(server))
    view = client.batched()

    async def begin() -> None:
        await asyncio.gather(*registers(view, A, B))

    loop.run_until_complete(begin())
    loop.close()
    asyncio.run(view.close())
    asyncio.run(client.close())
    server.close()


class TestInAChild:
    """Simulates a forked child inside one process."""

    @pytest.fixture
    def fork(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        def pretend() -> None:
            monkeypatch.setattr(forks, "_forks", [*forks._forks, None])

        return pretend

    async def test_closing_a_view_in_a_child_neither_sends_nor_fails_the_parents_calls(
        self, api: FakeApi, fork: Callable[[], None]
    ) -> None:
        client = PrefactorHttpClient(config_of(api.server))
        view = client.batched(concurrency=1)
        api.hold()
        in_flight = registers(view, A, B)
        await until(lambda: api.sent)
        waiting = registers(view, C, D)
        await turns()
        fork()
        with pytest.raises(PrefactorClientError, match="forked"):
            await register(view, "later-call-1")
        await view.close(0.01)
        api.release()
        assert [(await task).external_identifier for task in in_flight] == [A, B]
        await turns(20)
        assert api.sent == [[A, B]]
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await failures(waiting)
        await client.close()

    async def test_a_child_makes_its_own_calls_after_it_has_entered_the_client(
        self, api: FakeApi, fork: Callable[[], None]
    ) -> None:
        client = PrefactorHttpClient(config_of(api.server))
        view = client.batched(concurrency=1)
        gate = api.hold()
        parents = registers(view, A, B)
        await until(lambda: api.sent)
        fork()
        await client.close()
        api.gate = None
        async with client:
            # They do not wait for the parent's request.
            own = await asyncio.gather(*registers(view, C, D))
            assert [each.external_identifier for each in own] == [C, D]
        gate.set()
        await asyncio.gather(*parents)
        gc.collect()  # in a child, no connections are closed then

    async def test_a_direct_call_of_the_parent_does_not_affect_those_of_its_child(
        self, api: FakeApi, fork: Callable[[], None]
    ) -> None:
        client = PrefactorHttpClient(config_of(api.server))
        view = client.batched()
        for key in names("lone", 3):
            await register(view, key)
        gate = api.hold()
        parents = register(view, A)
        await until(lambda: len(api.sent) == 4)
        fork()
        await client.close()
        async with client:
            api.hold()
            own = registers(view, C, D)
            await until(lambda: len(api.sent) == 5)
            gate.set()
            assert (await parents).external_identifier == A
            api.release()
            await asyncio.gather(*own)
        assert api.sent[3:] == [["direct", A], [C, D]]
        gc.collect()
