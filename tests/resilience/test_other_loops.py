"""A client outside its event loop: on another loop, after its loop closed, in a forked child."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import Any, Self

import aiohttp
import pytest
from raw_server import reply
from resilience_support import until
from threaded_server import ThreadedServer

from prefactor_http import (
    HttpClientConfig,
    PrefactorClientError,
    PrefactorHttpClient,
    PrefactorTimeoutError,
)
from prefactor_http._values import forks


@pytest.fixture
def server():
    server = ThreadedServer()
    yield server
    server.close()


def client_of(server: Any, **options: Any) -> PrefactorHttpClient:
    return PrefactorHttpClient(
        HttpClientConfig(server.url, "token-1234", **{"max_retries": 0, **options})
    )


class OtherThread:
    """Runs an event loop in its own thread."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Any) -> Any:
        return self.start(coroutine).result(20)


async def test_closing_on_another_loop_raises_and_calls_in_flight_continue(server):
    server.delay = 0.2
    client = client_of(server)
    with OtherThread() as owner:
        call = owner.start(client.request("POST", "/api/v1/agent"))
        await until(lambda: server.requests)
        with pytest.raises(PrefactorClientError, match="another event loop"):
            await client.close()
        assert call.result(20) == {}
        server.delay = 0
        assert owner.run(client.request("POST", "/api/v1/agent")) == {}
        owner.run(client.close())
        await client.close()  # it is already closed


async def test_entering_an_open_client_on_another_loop_raises(server):
    client = client_of(server)
    with OtherThread() as owner:
        owner.run(client.validate_token())
        requests = server.requests
        with pytest.raises(PrefactorClientError, match="another event loop"):
            async with client:
                pytest.fail("it was entered")
        assert server.requests == requests
        owner.run(client.validate_token())
        owner.run(client.close())


async def test_an_open_client_can_be_entered_again_on_its_own_loop(server):
    async with client_of(server) as client:
        async with client as same:
            assert same is client
            await client.validate_token()
        with pytest.raises(PrefactorClientError, match="closed"):
            await client.validate_token()


async def test_closing_a_client_that_was_never_used_closes_it(server):
    client = client_of(server)
    await client.close()
    with pytest.raises(PrefactorClientError, match="closed"):
        await client.validate_token()


def test_a_client_whose_loop_is_closed_can_be_closed_and_entered_again(server):
    server.answer = reply(200, {"status": "success"}, Connection="close")
    client = client_of(server)
    asyncio.run(client.validate_token())

    async def again() -> None:
        with pytest.raises(PrefactorClientError, match="another event loop"):
            await client.validate_token()
        await client.close()
        async with client:
            assert (await client.validate_token())["status"] == "success"

    asyncio.run(again())


def test_closing_the_client_drops_calls_that_wait_on_a_closed_loop(server):
    server.answer = reply(503, {}, Connection="close")
    client = client_of(server, max_retries=1, initial_retry_delay=30, request_timeout=0.2)
    loop = asyncio.new_event_loop()
    call = loop.create_task(client.validate_token())
    loop.run_until_complete(until(lambda: server.requests))
    loop.run_until_complete(asyncio.sleep(0.1))
    assert not call.done()
    loop.close()

    async def again() -> None:
        await client.close()
        server.delay = 0.5
        async with client.with_options(max_retries=0) as view, client:
            with pytest.raises(PrefactorTimeoutError):
                await view.validate_token()
            begin = time.monotonic()
        assert time.monotonic() - begin < 1  # there are no calls to drain

    asyncio.run(again())
    call._log_destroy_pending = False
    call.get_coro().close()


class TestInAChild:
    """Simulates a forked child inside one process."""

    @pytest.fixture
    def fork(self, monkeypatch):
        def pretend() -> None:
            monkeypatch.setattr(forks, "_forks", [*forks._forks, None])

        yield pretend
        monkeypatch.undo()

    async def test_in_a_forked_child_calls_raise_and_close_leaves_connections_untouched(
        self, raw_server, fork
    ):
        client = client_of(raw_server)
        await client.validate_token()
        fork()
        with pytest.raises(PrefactorClientError, match="forked"):
            await client.validate_token()
        with pytest.raises(PrefactorClientError, match="forked"):
            async with client:
                pytest.fail("it was entered")
        await client.close()
        assert raw_server.connections == len(raw_server._writers) == 1
        with pytest.raises(PrefactorClientError, match="closed"):
            await client.validate_token()
        async with client:
            await client.validate_token()
        assert raw_server.connections == 2

    async def test_a_forked_child_cannot_reuse_the_parents_borrowed_session(self, raw_server, fork):
        async with aiohttp.ClientSession() as session:
            config = HttpClientConfig(raw_server.url, "token-1234")
            client = PrefactorHttpClient(config, session=session)
            await client.validate_token()
            fork()
            await client.close()
            with pytest.raises(PrefactorClientError, match="before the fork"):
                async with client:
                    pytest.fail("it was entered")
            assert not session.closed

    async def test_a_collected_pool_of_a_forked_child_closes_no_connections(
        self, raw_server, fork, monkeypatch
    ):
        client = client_of(raw_server)
        await client.validate_token()
        connector = client._executor.state.transport._session.connector
        fork()
        connector.__del__()
        monkeypatch.undo()
        await client.validate_token()
        assert raw_server.connections == 1
        await client.close()


FORKING = """
import asyncio, gc, os, sys, time
from prefactor_http import HttpClientConfig, PrefactorClientError, PrefactorHttpClient

url, kind, step = sys.argv[1:]
if kind == "uvloop":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop

client = PrefactorHttpClient(HttpClientConfig(url, "token-1234", max_retries=0))

async def calls():
    await asyncio.gather(*(client.validate_token() for _ in range(3)))

async def close_and_enter():
    try:
        await client.validate_token()
    except PrefactorClientError as error:
        assert "forked" in str(error), error
    else:
        raise AssertionError("the call was made")
    await client.close()
    async with client:
        await client.validate_token()

def child():
    global client, loop
    if step == "same loop":
        loop.run_until_complete(close_and_enter())
    elif step == "new loop":
        asyncio.run(close_and_enter())
    elif step == "collected":
        del client
        gc.collect()

loop = new_event_loop()
loop.run_until_complete(calls())
pid = os.fork()
if pid == 0:
    code = 1
    try:
        child()
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
begin = time.monotonic()
loop.run_until_complete(calls())
assert time.monotonic() - begin < 1, "the connections were deaf"
loop.run_until_complete(client.close())
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("step", ["same loop", "new loop", "collected"])
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_forked_child_does_not_affect_the_parents_connections(server, kind, step):
    done = subprocess.run(
        [sys.executable, "-c", FORKING, server.url, kind, step],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert server.connections == (3 if step == "collected" else 4)
