"""A blocked event loop: responses that arrive meanwhile are read before anything times out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from raw_server import reply
from threaded_server import ThreadedServer

from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorTimeoutError


@pytest.fixture
def server() -> Iterator[ThreadedServer]:
    server = ThreadedServer()
    yield server
    server.close()


async def write(client: PrefactorHttpClient) -> dict[str, object]:
    """Make a call and continue in the same task, which must not be cancelled afterwards."""
    result = await client.request("POST", "/api/v1/agent")
    await asyncio.sleep(0.01)
    return result


async def block_after(requests: int, server: ThreadedServer, seconds: float) -> None:
    """Block the event loop once the server has received so many requests."""
    async with asyncio.timeout(10):  # pytest-timeout cannot interrupt uvloop
        while server.requests < requests:  # noqa: ASYNC110 # the server is in another thread
            await asyncio.sleep(0.001)
    time.sleep(seconds)  # noqa: ASYNC251 # the point of these tests


@pytest.mark.parametrize("size", [2, 100_000])
@pytest.mark.parametrize(
    "options", [{"request_timeout": 0.3}, {"deadline": 0.3}, {"deadline": 0.3, "max_retries": 3}]
)
async def test_a_response_that_arrived_while_the_loop_was_blocked_is_read(server, options, size):
    server.answer = reply(200, {"text": "x" * size})
    config = HttpClientConfig(server.url, "token-1234", **{"max_retries": 0, **options})
    async with PrefactorHttpClient(config) as client:
        for number in (1, 2):
            call = asyncio.create_task(write(client))
            await block_after(number, server, 0.4)
            assert (await call)["text"] == "x" * size
            assert server.requests == number


async def test_many_calls_that_expire_together_all_read_their_responses(server):
    # The loop is blocked past all timeouts. A slow machine has 0.6 s to send the requests.
    config = HttpClientConfig(server.url, "token-1234", max_retries=0, request_timeout=0.6)
    async with PrefactorHttpClient(config) as client:
        server.delay = 0.3
        calls = [asyncio.create_task(write(client)) for _ in range(20)]
        await block_after(len(calls), server, 0.7)
        assert await asyncio.gather(*calls) == [{}] * len(calls)


@pytest.mark.parametrize("options", [{"request_timeout": 0.3}, {"deadline": 0.3}])
async def test_a_response_that_has_not_arrived_is_not_waited_for(server, options):
    server.delay = 1.0
    config = HttpClientConfig(server.url, "token-1234", **{"max_retries": 0, **options})
    async with PrefactorHttpClient(config) as client:
        call = asyncio.create_task(write(client))
        await block_after(1, server, 0.4)
        unblocked = time.monotonic()
        with pytest.raises(PrefactorTimeoutError):
            await call
        assert time.monotonic() - unblocked < 0.5
