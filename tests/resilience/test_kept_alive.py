"""Kept-alive connections: no response of an earlier call, and no hidden repetitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from raw_server import RawServer, reply
from resilience_support import until

from prefactor_http import HttpClientConfig, PrefactorConnectionError, PrefactorHttpClient


@pytest.fixture
async def client(raw_server: RawServer) -> AsyncIterator[PrefactorHttpClient]:
    config = HttpClientConfig(raw_server.url, "token-1234", max_retries=0)
    async with PrefactorHttpClient(config) as client:
        yield client


async def test_an_unsolicited_response_is_not_used_for_a_later_call(raw_server, client):
    raw_server.script(reply(body={"n": 1}), reply(body={"n": 2}))
    assert await client.request("POST", "/api/v1/agent") == {"n": 1}
    (writer,) = raw_server._writers
    writer.write(reply(body={"n": "nobody asked"}))
    await writer.drain()
    await asyncio.sleep(0.05)
    assert await client.request("POST", "/api/v1/agent") == {"n": 2}
    assert len(raw_server.requests) == 2
    await until(writer.is_closing)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_write_on_a_closed_kept_alive_connection_is_sent_once(raw_server, client, method):
    raw_server.script(reply(), b"", reply(404))
    await client.request("GET", "/api/v1/ping")
    with pytest.raises(PrefactorConnectionError) as caught:
        await client.request(method, "/api/v1/agent/x")
    assert caught.value.outcome_unknown
    assert caught.value.attempts == 1
    assert [request.method for request in raw_server.requests] == ["GET", method]
