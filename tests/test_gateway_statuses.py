"""Error statuses of gateways are retried by default."""

import pytest
from raw_server import reply

from prefactor_http import HttpClientConfig, PrefactorApiError, PrefactorHttpClient
from prefactor_http.exceptions import is_transient_http_error


@pytest.fixture
async def client(raw_server):
    config = HttpClientConfig(
        raw_server.url, "token-1234", initial_retry_delay=0.001, retry_budget=None
    )
    async with PrefactorHttpClient(config) as client:
        yield client


@pytest.mark.parametrize("status", [502, 503, 504, 520, 521, 522, 523, 524, 529])
async def test_a_status_of_a_gateway_is_retried(raw_server, client, status):
    raw_server.script(reply(status, b"<html>"), reply(status, b"<html>"))
    assert await client.request("POST", "/api/v1/x") == {}
    assert len(raw_server.requests) == 3


@pytest.mark.parametrize("status", [501, 505, 511, 525, 530])
async def test_another_status_is_not_retried_and_its_outcome_is_unknown(raw_server, client, status):
    raw_server.script(reply(status, b"<html>"))
    with pytest.raises(PrefactorApiError) as caught:
        await client.request("POST", "/api/v1/x")
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize(
    "status", [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529]
)
async def test_what_is_retried_by_default_is_transient(raw_server, client, status):
    raw_server.script(reply(status))
    with pytest.raises(PrefactorApiError) as caught:
        await client.with_options(max_retries=0).request("POST", "/api/v1/x")
    assert is_transient_http_error(caught.value)
