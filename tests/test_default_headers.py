"""Headers of the configuration are sent with each request."""

import aiohttp
import pytest
from raw_server import reply

from prefactor_http import HttpClientConfig, PrefactorHttpClient

HEADERS = {"X-Tenant": "blue", "user-agent": "worker/1", "ACCEPT": "application/vnd.x+json"}


def config_of(server, **options):
    return HttpClientConfig(server.url, "token-1234", default_headers=HEADERS, **options)


@pytest.mark.parametrize("is_borrowed", [True, False])
async def test_each_request_has_the_headers_once_and_the_clients_own(raw_server, is_borrowed):
    raw_server.script(reply(503, {}))
    async with aiohttp.ClientSession() as session:
        config = config_of(raw_server, initial_retry_delay=0.001)
        borrowed = session if is_borrowed else None
        async with PrefactorHttpClient(config, session=borrowed) as client:
            await client.request("POST", "/api/v1/x", json_data={})
    assert len(raw_server.requests) == 2
    for request in raw_server.requests:
        head = request.raw.partition(b"\r\n\r\n")[0].decode().lower()
        lines = head.split("\r\n")
        for name, value in HEADERS.items():
            assert [line for line in lines if line.startswith(f"{name.lower()}:")] == [
                f"{name.lower()}: {value.lower()}"
            ]
        assert request.headers["authorization"] == "Bearer token-1234"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-prefactor-sdk"].startswith("prefactor-http@")


async def test_without_headers_the_clients_own_are_sent(raw_server):
    config = HttpClientConfig(raw_server.url, "token-1234")
    async with PrefactorHttpClient(config) as client:
        await client.validate_token()
    assert raw_server.request.headers["accept"] == "application/json"
    assert raw_server.request.headers["user-agent"].startswith("prefactor-http/")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\0", "é@1", "\ud800"])
async def test_an_sdk_header_that_cannot_be_sent_is_rejected(raw_server, value):
    config = HttpClientConfig(raw_server.url, "token-1234")
    with pytest.raises(ValueError, match="sdk_header must be printable ASCII"):
        PrefactorHttpClient(config, value)
    with pytest.raises(TypeError, match="sdk_header must be a str, not int"):
        PrefactorHttpClient(config, 0)
    async with PrefactorHttpClient(config, "adapter@1") as client:
        with pytest.raises(ValueError, match="sdk_header must be printable ASCII"):
            client._sdk_header = value
        await client.validate_token()
    assert raw_server.request.headers["x-prefactor-sdk"] == "adapter@1"
