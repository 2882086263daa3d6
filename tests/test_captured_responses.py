"""`capture_responses` collects the raw responses of the calls in a block."""

import asyncio
import dataclasses
import gc
import pickle

import pytest
from raw_server import reply

from prefactor_http import (
    CapturedResponse,
    HttpClientConfig,
    PrefactorClientError,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorNotFoundError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
)
from prefactor_http._http.captured_response import Capture
from prefactor_http.testing import LocalPrefactor

TOKEN = "secret-token-9f8e7d"
PING = "/api/v1/ping"
FAULT = reply(503, {"code": "unavailable", "message": "later"}, X_Request_Id="r-1")


def client_of(server, **options):
    options = {"max_retries": 2, "initial_retry_delay": 0.001, **options}
    return PrefactorHttpClient(HttpClientConfig(server.url, TOKEN, **options))


def write(client):
    # Not a GET, which aiohttp itself repeats after a disconnect.
    return client.request("POST", "/api/v1/things", json_data={})


@pytest.fixture
async def client(raw_server):
    async with client_of(raw_server) as client:
        yield client


async def test_a_call_adds_its_response(raw_server, client):
    raw_server.script(reply(200, {"ok": True}, X_Request_Id="r-7", X_Region="eu"))
    with client.capture_responses() as responses:
        await write(client)
    (response,) = responses  # also usable after the block
    assert isinstance(response, CapturedResponse)
    assert response.status == 200
    assert response.request_id == response.headers["x-request-id"] == "r-7"
    assert response.headers["X-REGION"] == "eu"
    assert response.operation == "request POST /api/v1/things"
    assert (response.method, response.path) == ("POST", "/api/v1/things")
    assert response.attempts == 1
    assert 0 < response.seconds < 60


async def test_a_retried_call_adds_its_last_response_with_all_attempts(raw_server, client):
    raw_server.script(FAULT, b"", reply(200, {}, X_Request_Id="r-3"))
    with client.capture_responses() as responses:
        await write(client)
    assert [(r.status, r.request_id, r.attempts) for r in responses] == [(200, "r-3", 3)]


async def test_a_call_that_fails_adds_its_last_response(raw_server, client):
    raw_server.script(
        reply(404, {"code": "not_found", "message": "no"}, X_Request_Id="r-4"), FAULT, b"", b""
    )
    with client.capture_responses() as responses:
        with pytest.raises(PrefactorNotFoundError):
            await client.agents.get("a-1")
        with pytest.raises(PrefactorRetryExhaustedError):
            await write(client)
    assert [(r.operation, r.status, r.request_id, r.attempts) for r in responses] == [
        ("agents.get", 404, "r-4", 1),
        ("request POST /api/v1/things", 503, "r-1", 3),
    ]


async def test_a_call_without_any_response_has_no_status(raw_server):
    async with client_of(raw_server, max_retries=0) as client:
        raw_server.script(b"")
        with client.capture_responses() as responses, pytest.raises(PrefactorConnectionError):
            await write(client)
    with client.capture_responses() as closed, pytest.raises(PrefactorClientError, match="closed"):
        await write(client)
    assert [(r.status, r.attempts) for r in (*responses, *closed)] == [(None, 1), (None, 0)]
    assert (responses[0].request_id, dict(responses[0].headers)) == (None, {})


async def test_a_response_that_is_too_large_has_its_status(raw_server):
    raw_server.script(reply(200, b"x" * 100))
    async with client_of(raw_server, max_response_bytes=10) as client:
        with (
            client.capture_responses() as responses,
            pytest.raises(PrefactorResponseContractError),
        ):
            await client.validate_token()
    assert [(r.status, dict(r.headers)) for r in responses] == [(200, {})]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_call_that_is_interrupted_is_added(raw_server, is_cancelled):
    raw_server.script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    received = asyncio.Event()
    raw_server.on_request = received.set
    async with client_of(raw_server, deadline=None if is_cancelled else 0.05) as client:
        with client.capture_responses() as responses:
            call = asyncio.create_task(client.validate_token())
            await received.wait()
            if is_cancelled:
                call.cancel()
            with pytest.raises(asyncio.CancelledError if is_cancelled else PrefactorTimeoutError):
                await call
    assert [(r.status, r.attempts) for r in responses] == [(None, 1)]


async def test_only_calls_of_the_block_and_of_its_tasks_are_added(raw_server, client):
    other = asyncio.Event()

    async def outside():
        await other.wait()
        await client.request("GET", "/outside")

    async def inside(path):
        await client.with_options(max_retries=0).request("GET", path)

    task = asyncio.create_task(outside())
    await client.request("GET", "/before")
    with client.capture_responses() as responses:
        other.set()
        await task
        async with asyncio.TaskGroup() as group:
            group.create_task(inside("/1"))
            group.create_task(inside("/2"))
    await client.request("GET", "/after")
    assert sorted(r.path for r in responses) == ["/1", "/2"]


async def test_a_call_that_ends_after_the_block_is_not_added(raw_server, client):
    release = asyncio.Event()

    async def answer(request):
        if request.target == "/slow":
            await release.wait()
        return reply()

    raw_server.answer = answer
    with client.capture_responses() as ended:
        slow = asyncio.create_task(client.request("GET", "/slow"))
        await client.request("GET", "/fast")
    with client.capture_responses() as later:
        release.set()
        await slow
    assert [r.path for r in ended] == ["/fast"]
    assert later == []


async def test_blocks_can_be_nested(raw_server, client):
    with client.capture_responses() as outer:
        await client.request("GET", "/1")
        with client.capture_responses() as inner:
            await client.request("GET", "/2")
        await client.request("GET", "/3")
    assert [r.path for r in outer] == ["/1", "/2", "/3"]
    assert [r.path for r in inner] == ["/2"]


async def test_a_block_that_ends_with_an_error_is_closed(raw_server, client):
    with pytest.raises(LookupError), client.capture_responses() as responses:
        raise LookupError
    await client.validate_token()
    assert responses == []
    assert client._executor.state.capture_count == 0


async def test_a_block_may_end_in_another_task_than_it_began(raw_server, client):
    block = client.capture_responses()

    async def enter():
        return block.__enter__()

    responses = await asyncio.create_task(enter())
    block.__exit__(None, None, None)
    await client.validate_token()
    assert responses == []


def count(kind):
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


async def test_a_block_is_forgotten_when_it_ends(raw_server, client):
    for _ in range(20):
        with client.capture_responses():
            await client.validate_token()
    assert count(Capture) <= 2  # the connection keeps the context in which it was opened
    assert count(CapturedResponse) == 0


async def test_calls_of_another_client_are_not_added(raw_server, client):
    async with client_of(raw_server) as other:
        with client.capture_responses() as responses, other.capture_responses() as others:
            await other.validate_token()
    assert responses == []
    assert len(others) == 1


async def test_a_batch_adds_its_bulk_requests():
    async with LocalPrefactor() as api:
        config = HttpClientConfig(api.url, api.token)
        async with PrefactorHttpClient(config) as client:
            with client.capture_responses() as responses:
                outcomes = client.agent_instances.register_many(
                    [{"external_identifier": f"row-{number}"} for number in range(10)],
                    agent_id=api.agent_id,
                    environment_id=api.environment_id,
                    agent_version={"external_identifier": "v1", "name": "1"},
                    agent_schema_version={
                        "external_identifier": "s1",
                        "span_type_schemas": [],
                    },
                )
                assert all([outcome.ok async for outcome in outcomes])
    assert [(r.method, r.path, r.status) for r in responses] == [("POST", "/api/v1/bulk", 200)]


async def test_headers_are_read_only_and_without_secrets(raw_server, client):
    raw_server.script(
        reply(
            200,
            {},
            Set_Cookie="session=1",
            Authorization="Bearer x",
            X_Echo=f"token {TOKEN}",
            Via="1.1 a",
            via="1.1 b",
            X_Request_Id=TOKEN,
        )
    )
    with client.capture_responses() as responses:
        await client.validate_token()
    headers = responses[0].headers
    assert headers["x-echo"] == "token [token]"
    assert headers["VIA"] == "1.1 a, 1.1 b"
    assert responses[0].request_id == "[token]"
    assert "set-cookie" not in headers
    assert "authorization" not in headers
    assert "Via" in headers
    assert 1 not in headers
    assert list(headers) == ["Content-Length", "X-Echo", "Via", "X-Request-ID"]
    assert len(headers) == 4
    assert TOKEN not in repr(responses)
    with pytest.raises(TypeError):
        headers["Via"] = "2"
    with pytest.raises(AttributeError):
        responses[0].status = 1
    assert pickle.loads(pickle.dumps(responses)) == responses


async def test_other_hooks_see_the_calls_as_before(raw_server, client):
    seen = []
    view = client.with_options(on_attempt=seen.append)
    with client.capture_responses() as responses:
        await view.validate_token()
    assert (len(responses), len(seen)) == (1, 1)
    assert dataclasses.replace(view.config, on_attempt=None) == client.config
