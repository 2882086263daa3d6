"""The client can be mocked with aioresponses, as users do in their own tests."""

from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from prefactor_http import (
    AgentInstance,
    HttpClientConfig,
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorConflictError,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorNotFoundError,
    PrefactorRateLimitError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
    PrefactorValidationError,
)

API = "https://api.example/api/v1"
MOMENT = "2024-05-01T12:00:00Z"
INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "status": "pending",
    "inserted_at": MOMENT,
    "updated_at": MOMENT,
}
VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


class MockedResponse(aiohttp.ClientResponse):
    """Passes `stream_writer`, which aiohttp 3.14 requires and aioresponses 0.7.9 does not pass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(AbstractStreamWriter, output_size=0), **kwargs)


class Mocked:
    """aioresponses with a response class that works with aiohttp 3.14."""

    def __init__(self, mock: aioresponses) -> None:
        self._mock = mock

    def add(self, method, path, **response):
        self._mock.add(f"{API}{path}", method, response_class=MockedResponse, **response)

    def add_details(self, method, path, **fields):
        self.add(method, path, payload={"status": "success", "details": {**INSTANCE, **fields}})

    @property
    def calls(self):
        return [(verb, url) for (verb, url), made in self._mock.requests.items() for _ in made]

    def only_call(self):
        (call,) = self.calls
        return call


@pytest.fixture
def mocked():
    with aioresponses() as mock:
        yield Mocked(mock)


@pytest.fixture
async def client():
    config = HttpClientConfig("https://api.example", "token-1234", max_retries=0)
    async with PrefactorHttpClient(config) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        (
            "POST",
            "/agent_instance/register",
            lambda i: i.register("a-1", VERSION, SCHEMA, purpose="eval"),
        ),
        ("POST", "/agent_instance/i-1/start", lambda i: i.start("i-1")),
        ("POST", "/agent_instance/i-1/finish", lambda i: i.finish("i-1", "failed")),
        ("GET", "/agent_instance/i-1", lambda i: i.get("i-1")),
        ("POST", "/agent_instance/i-1/terminate", lambda i: i.terminate("i-1", "stop")),
        (
            "POST",
            "/agent_instance/i-1/record_quality",
            lambda i: i.record_quality("i-1", "score", {"value": 1}),
        ),
    ],
)
async def test_each_call_on_an_instance_can_be_mocked(mocked, client, method, path, call):
    fields = {"status": "complete", "purpose": "eval", "span_counts": {"total": 3}}
    mocked.add_details(method, path, **fields)
    instance = await call(client.agent_instances)
    assert isinstance(instance, AgentInstance)
    assert (instance.id, instance.status, instance.purpose) == ("i-1", "complete", "eval")
    assert instance.span_counts.total == 3
    assert mocked.only_call() == (method, URL(f"{API}{path}"))


async def test_a_run_can_be_mocked(mocked, client):
    mocked.add_details("POST", "/agent_instance/register")
    mocked.add_details("POST", "/agent_instance/i-1/start", status="active")
    mocked.add_details("POST", "/agent_instance/i-1/finish", status="complete")
    async with client.agent_instances.run("a-1", VERSION, SCHEMA) as run:
        assert (run.id, run.instance.status) == ("i-1", "active")
    assert run.instance.status == "complete"
    assert len(mocked.calls) == 3


def page(*ids, offset, next_offset):
    return {
        "status": "success",
        "summaries": [{**INSTANCE, "id": id} for id in ids],  # noqa: A001 # the API's word
        "pagination": {
            "item_count": 3,
            "item_start": offset + 1,
            "item_end": offset + len(ids),
            "page_count": 2,
            "page_index": 1 + offset // 2,
            "page_offset": offset,
            "page_size": 2,
            "next_page_offset": next_offset,
            "previous_page_offset": None,
        },
        "sorting": {"field": "id", "direction": "desc"},
    }


def listing(offset):
    filters = "agent_id=a-1&agent_version_id=v-1&sorting=-id"
    return f"/agent_instance?{filters}&pagination[offset]={offset}&pagination[page_size]=2"


async def test_iterating_a_list_reads_all_pages(mocked, client):
    mocked.add("GET", listing(0), payload=page("i-1", "i-2", offset=0, next_offset=2))
    mocked.add("GET", listing(2), payload=page("i-3", offset=2, next_offset=None))
    first = await client.agent_instances.list("a-1", "v-1", "-id", page_size=2)
    assert [item.id for item in first] == [item.id for item in first.items] == ["i-1", "i-2"]
    assert (first.pagination.item_count, first.pagination.next_page_offset) == (3, 2)
    assert (first.sorting.field, first.sorting.direction) == ("id", "desc")
    assert len(mocked.calls) == 1
    assert [item.id async for item in first] == ["i-1", "i-2", "i-3"]
    assert len(mocked.calls) == 2


async def test_pages_can_be_read_one_at_a_time(mocked, client):
    mocked.add("GET", listing(0), payload=page("i-1", "i-2", offset=0, next_offset=2))
    mocked.add("GET", listing(2), payload=page("i-3", offset=2, next_offset=None))
    first = await client.agent_instances.list("a-1", "v-1", "-id", 0, 2)
    second = await first.next_page()
    assert [item.id for item in second] == ["i-3"]
    assert await second.next_page() is None


@pytest.mark.parametrize("next_offset", [2, None])
async def test_a_page_whose_next_offset_does_not_increase_is_the_last(mocked, client, next_offset):
    mocked.add("GET", listing(2), payload=page("i-3", offset=2, next_offset=next_offset))
    last = await client.agent_instances.list("a-1", "v-1", "-id", 2, 2)
    assert [item.id async for item in last] == ["i-3"]


async def test_a_list_without_pagination_is_one_page(mocked, client):
    path = "/agent_instance?pagination[offset]=0&pagination[page_size]=50"
    mocked.add("GET", path, payload={"status": "success", "summaries": []})
    only = await client.agent_instances.list()
    assert only == []
    assert (only.has_next_page, only.sorting, await only.next_page()) == (False, None, None)
    assert (only.pagination.item_count, only.pagination.page_size) == (0, 50)


async def test_the_token_check_can_be_mocked(mocked, client):
    mocked.add("GET", "/ping", payload={"status": "success", "account": "acc-1"})
    assert await client.validate_token() == {"status": "success", "account": "acc-1"}


async def test_a_call_by_path_can_be_mocked(mocked, client):
    mocked.add("GET", "/agent?q=a+b", payload={"summaries": []})
    response = await client.request("get", "/api/v1/agent", params={"q": "a b"})
    assert response == {"summaries": []}


async def test_a_mock_receives_the_request_body(mocked, client):
    bodies = []

    def callback(url, **arguments):
        bodies.append(arguments["data"])
        details = {"status": "success", "details": {**INSTANCE, "status": "terminated"}}
        return CallbackResult(payload=details, response_class=MockedResponse)

    mocked.add("POST", "/agent_instance/i-1/terminate", callback=callback)
    await client.agent_instances.terminate("i-1", "stop", "key-1")
    assert bodies == [b'{"reason":"stop","idempotency_key":"key-1"}']


ERRORS = [
    (401, "bad_authtoken", PrefactorAuthError),
    (403, "forbidden", PrefactorAuthError),
    (404, "not_found", PrefactorNotFoundError),
    (409, "invalid_action", PrefactorConflictError),
    (400, "bad_request", PrefactorValidationError),
    (422, "validation_errors", PrefactorValidationError),
    (429, "rate_limited", PrefactorRateLimitError),
    (500, "internal", PrefactorApiError),
    (418, "something_new", PrefactorApiError),
]


@pytest.mark.parametrize(("status", "code", "error"), ERRORS)
async def test_each_error_status_raises_its_exception(mocked, client, status, code, error):
    body = {"status": "error", "code": code, "message": "no", "errors": {"id": ["is bad"]}}
    headers = {"X-Request-Id": "r-1", "Retry-After": "1.5"}
    path = "/agent_instance/register"
    mocked.add("POST", path, status=status, payload=body, headers=headers)
    with pytest.raises(PrefactorApiError) as caught:
        await client.agent_instances.register("a-1", VERSION, SCHEMA, idempotency_key="key-1")
    raised = caught.value
    assert type(raised) is error
    assert str(raised) == f"{status} {code}: id is bad (request r-1)"
    assert raised.message == "no"
    assert raised.from_api
    assert (raised.status_code, raised.code, raised.errors) == (status, code, {"id": ["is bad"]})
    assert (raised.request_id, raised.retry_after, raised.body_snippet) == ("r-1", 1.5, None)
    assert (raised.method, raised.path) == ("POST", f"/api/v1{path}")
    assert (raised.attempts, raised.idempotency_key) == (1, "key-1")
    assert raised.outcome_unknown == (status == 500)


@pytest.mark.parametrize(("status", "code", "error"), ERRORS)
async def test_an_html_error_page_raises_by_status(mocked, client, status, code, error):
    mocked.add("GET", "/agent_instance/i-1", status=status, body="<html>\n<p>Sorry</p>")
    with pytest.raises(PrefactorApiError) as caught:
        await client.agent_instances.get("i-1")
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.errors) == ("unknown", {})
    assert caught.value.body_snippet == "<html> <p>Sorry</p>"
    assert str(caught.value).startswith(f"{status}: ")
    assert not caught.value.from_api
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("raised", "error", "unknown"),
    [
        (aiohttp.ServerDisconnectedError(), PrefactorConnectionError, True),
        (aiohttp.ClientPayloadError("cut"), PrefactorConnectionError, True),
        (ConnectionResetError("reset"), PrefactorConnectionError, True),
        (RuntimeError("Connection closed."), PrefactorConnectionError, True),
        (TimeoutError(), PrefactorTimeoutError, True),
        (aiohttp.ConnectionTimeoutError(), PrefactorTimeoutError, False),
    ],
)
async def test_a_mocked_transport_error_is_converted(mocked, client, raised, error, unknown):
    mocked.add("POST", "/agent_instance/i-1/start", exception=raised)
    with pytest.raises(error) as caught:
        await client.agent_instances.start("i-1")
    assert caught.value.outcome_unknown == unknown
    assert caught.value.__cause__ is None


async def test_retries_can_be_mocked(mocked):
    config = HttpClientConfig(
        "https://api.example", "token-1234", max_retries=1, initial_retry_delay=0.001
    )
    path = "/agent_instance/i-1"
    mocked.add("GET", path, status=503)
    mocked.add_details("GET", path)
    mocked.add("GET", path, status=503)
    mocked.add("GET", path, status=502)
    async with PrefactorHttpClient(config) as client:
        assert (await client.agent_instances.get("i-1")).id == "i-1"
        with pytest.raises(PrefactorRetryExhaustedError) as caught:
            await client.agent_instances.get("i-1")
    assert caught.value.last_error.status_code == 502
    assert caught.value.attempts == 2
    assert len(mocked.calls) == 4
