"""Calls by HTTP method and path: the bytes that a server receives."""

import json
import re
import uuid

import pytest
from raw_server import reply

from prefactor_http import (
    HttpClientConfig,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorValidationError,
)


@pytest.fixture
async def client(raw_server):
    config = HttpClientConfig(
        raw_server.url, "token-1234", max_retries=2, initial_retry_delay=0.001
    )
    async with PrefactorHttpClient(config) as client:
        yield client


async def test_a_read_has_neither_body_nor_key(raw_server, client):
    raw_server.script(reply(body={"status": "success", "n": 1}))
    assert await client.request("GET", "/api/v1/agent") == {"status": "success", "n": 1}
    request = raw_server.request
    assert request.raw.startswith(b"GET /api/v1/agent HTTP/1.1\r\n")
    assert request.body == b""
    assert "idempotency-key" not in request.headers
    assert "content-length" not in request.headers


async def test_each_request_has_the_token_and_the_client_headers(raw_server, client):
    await client.request("GET", "/api/v1/agent")
    headers = raw_server.request.headers
    assert headers["authorization"] == "Bearer token-1234"
    assert headers["accept"] == "application/json"
    assert headers["content-type"] == "application/json"
    assert re.fullmatch(r"prefactor-http/\d+\.\d+\.\d+ Python/3\.\d+", headers["user-agent"])
    assert re.fullmatch(r"prefactor-http@\d+\.\d+\.\d+", headers["x-prefactor-sdk"])
    assert raw_server.request.raw.lower().count(b"\r\nauthorization:") == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
async def test_a_write_without_a_key_gets_one_in_body_and_header(raw_server, client, method):
    await client.request(method, "/api/v1/agent", json_data={"details": {"name": "Agent"}})
    request = raw_server.request
    assert request.method == method.upper()
    key = request.headers["idempotency-key"]
    assert uuid.UUID(key).version == 4
    assert request.json == {"details": {"name": "Agent"}, "idempotency_key": key}


async def test_a_write_without_a_body_gets_one_for_its_key(raw_server, client):
    await client.request("POST", "/api/v1/agent/1/retire")
    request = raw_server.request
    assert request.json == {"idempotency_key": request.headers["idempotency-key"]}


async def test_the_callers_key_is_sent_unchanged(raw_server, client):
    await client.request("POST", "/api/v1/agent", json_data={}, idempotency_key="order-17")
    request = raw_server.request
    assert request.headers["idempotency-key"] == "order-17"
    assert request.json == {"idempotency_key": "order-17"}


@pytest.mark.parametrize("argument", [None, "order-17"])
async def test_a_key_in_the_body_is_the_key(raw_server, client, argument):
    body = {"idempotency_key": "order-17", "a": 1}
    await client.request("POST", "/api/v1/agent", json_data=body, idempotency_key=argument)
    assert raw_server.request.headers["idempotency-key"] == "order-17"
    assert raw_server.request.json == body


async def test_a_field_named_items_does_not_make_a_bulk_request(raw_server, client):
    raw_server.script(b"")
    await client.request("POST", "/api/v1/thing", json_data={"items": ["a"]})
    first, second = raw_server.requests
    assert first.body == second.body
    assert first.json["idempotency_key"] == first.headers["idempotency-key"]


async def test_a_bulk_body_gets_no_key_of_its_own(raw_server, client):
    items = [{"_type": "agent_spans/finish", "idempotency_key": "item-0001"}]
    await client.request("POST", "/api/v1/bulk", json_data={"items": items})
    request = raw_server.request
    assert request.json == {"items": items}
    assert uuid.UUID(request.headers["idempotency-key"]).version == 4


async def test_the_callers_body_is_not_modified(raw_server, client):
    body = {"a": 1}
    await client.request("POST", "/api/v1/agent", json_data=body)
    assert body == {"a": 1}


async def test_text_is_sent_as_utf_8(raw_server, client):
    await client.request("POST", "/api/v1/agent", json_data={"name": "Grüße 東京 \U0001f980 \x00"})
    body = raw_server.request.body
    assert "Grüße 東京 \U0001f980".encode() in body
    assert json.loads(body)["name"] == "Grüße 東京 \U0001f980 \x00"


async def test_every_attempt_sends_the_same_bytes(raw_server, client):
    raw_server.script(reply(503), b"", reply(body={"attempt": 3}))
    got = await client.request("POST", "/api/v1/agent", json_data={"b": 1, "a": [1.5, None]})
    assert got == {"attempt": 3}
    assert len(raw_server.requests) == 3
    assert len({request.raw for request in raw_server.requests}) == 1


async def test_retries_of_a_default_prefix_keep_their_key(raw_server):
    config = HttpClientConfig(
        raw_server.url,
        "token-1234",
        max_retries=1,
        initial_retry_delay=0.001,
        default_idempotency_key="job-9",
    )
    raw_server.script(reply(503), reply(503))
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorRetryExhaustedError) as caught:
            await client.request("POST", "/api/v1/agent")
    keys = {request.headers["idempotency-key"] for request in raw_server.requests}
    assert keys == {caught.value.idempotency_key}
    assert uuid.UUID(keys.pop().removeprefix("job-9-")).version == 4


async def test_parameters_are_encoded(raw_server, client):
    params = {"pagination[offset]": 50, "q": "a b&c=d/ü", "flag": True, "off": False, "x": "1+1"}
    await client.request("get", "/api/v1/agent", params=params)
    path, _, query = raw_server.request.target.partition("?")
    assert path == "/api/v1/agent"
    assert sorted(query.replace("%5B", "[").replace("%5D", "]").split("&")) == [
        "flag=true",
        "off=false",
        "pagination[offset]=50",
        "q=a+b%26c%3Dd/%C3%BC",
        "x=1%2B1",
    ]


async def test_a_path_below_the_base_url_is_kept(raw_server):
    config = HttpClientConfig(f"{raw_server.url}/proxy/", "token-1234")
    async with PrefactorHttpClient(config) as client:
        await client.request("GET", "/api/v1/agent")
    assert raw_server.request.target == "/proxy/api/v1/agent"


@pytest.mark.parametrize(
    "path", ["", "api/v1/agent", "https://elsewhere.example/api", "//elsewhere.example/api"]
)
async def test_a_path_cannot_lead_to_another_host(raw_server, client, path):
    with pytest.raises(ValueError, match="path must start with one slash"):
        await client.request("GET", path)
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "GET", "json_data": {}}, ValueError, "a GET takes no json_data"),
        ({"method": "HEAD"}, ValueError, "method must be one of GET, POST, PUT, PATCH, DELETE"),
        ({"path": "/api/v1/../agent"}, ValueError, "dot segments such"),
        ({"path": "/api/v1/agent#top"}, ValueError, "fragment"),
        ({"method": "get", "idempotency_key": "k"}, ValueError, "a GET takes no json_data"),
        (
            {"json_data": {"idempotency_key": "one"}, "idempotency_key": "two"},
            ValueError,
            "idempotency_key differs from the one in json_data",
        ),
        ({"idempotency_key": ""}, ValueError, "1 to 64 characters"),
        ({"idempotency_key": "a b"}, ValueError, "printable ASCII"),
        ({"json_data": {"idempotency_key": "x" * 65}}, ValueError, "1 to 64 characters"),
        ({"json_data": {"idempotency_key": 7}}, TypeError, "must be a str, not int"),
        ({"json_data": {"a": object}}, TypeError, "cannot encode the request as JSON"),
        ({"json_data": {"a": "\ud800"}}, ValueError, "a must be Unicode text"),
        ({"json_data": [1]}, TypeError, "json_data must be a dict or None, not list"),
        ({"params": ["a"]}, TypeError, "params must be a dict or None, not list"),
        ({"params": ""}, TypeError, "params must be a dict or None, not str"),
        ({"method": None}, TypeError, "method must be a str, not NoneType"),
        ({"method": b"GET"}, TypeError, "method must be a str, not bytes"),
    ],
    ids=repr,
)
async def test_invalid_arguments_are_rejected_before_any_request(
    raw_server, client, arguments, error, message
):
    with pytest.raises(error, match=message):
        await client.request(**{"method": "POST", "path": "/api/v1/agent", **arguments})
    assert raw_server.requests == []


async def test_a_body_that_contains_itself_is_rejected(raw_server, client):
    body = {}
    body["self"] = body
    with pytest.raises(ValueError, match="refers to itself"):
        await client.request("POST", "/api/v1/agent", json_data=body)
    assert raw_server.requests == []


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null"])
async def test_a_json_response_that_is_not_an_object_is_a_contract_error(raw_server, client, body):
    raw_server.script(reply(body=body))
    with pytest.raises(PrefactorResponseContractError) as caught:
        await client.request("POST", "/api/v1/agent")
    assert caught.value.status_code == 200
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b"\xff", b'{"a":NaN}'])
async def test_a_response_that_is_not_json_counts_as_lost(raw_server, body):
    config = HttpClientConfig(
        raw_server.url, "token-1234", max_retries=1, initial_retry_delay=0.001
    )
    async with PrefactorHttpClient(config) as client:
        raw_server.script(reply(body=body), reply(body={"a": 1}))
        assert await client.request("POST", "/api/v1/agent") == {"a": 1}
        raw_server.script(*[reply(body=body)] * 2)
        with pytest.raises(PrefactorResponseContractError) as caught:
            await client.request("POST", "/api/v1/agent")
    assert caught.value.status_code == 200
    assert (caught.value.outcome_unknown, caught.value.retryable) == (True, True)
    assert caught.value.attempts == 2
    assert len({request.raw for request in raw_server.requests[:2]}) == 1


async def test_the_token_is_validated_by_a_ping(raw_server, client):
    raw_server.script(reply(body={"status": "success"}))
    assert await client.validate_token() == {"status": "success"}
    assert raw_server.request.raw.startswith(b"GET /api/v1/ping HTTP/1.1\r\n")


DEEP = b"[" * 100_000 + b"]" * 100_000


async def test_a_response_nested_too_deep_is_a_contract_error(raw_server, client):
    raw_server.script(reply(body=b'{"details": ' + DEEP + b"}"))
    with pytest.raises(PrefactorResponseContractError) as caught:
        await client.request("POST", "/api/v1/agent", json_data={"details": {}})
    assert caught.value.outcome_unknown
    assert caught.value.attempts == 1


async def test_an_error_nested_too_deep_is_reported_by_its_status(raw_server, client):
    raw_server.script(reply(400, b'{"errors": ' + DEEP + b"}"))
    with pytest.raises(PrefactorValidationError) as caught:
        await client.request("GET", "/api/v1/agent")
    assert caught.value.code == "unknown"


async def test_a_retry_after_with_an_overflowing_year_is_ignored(raw_server, client):
    far = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
    raw_server.script(reply(503, Retry_After=far, Date="Mon, 01 Jan 2024 00:00:00 GMT"))
    assert await client.request("GET", "/api/v1/agent") == {}
    assert len(raw_server.requests) == 2


async def test_an_escaped_token_in_an_error_is_redacted(raw_server, client):
    escaped = rb"tok\u0065n-1234"
    body = b'{"message": "bad %b", "errors": {"token": ["%b"]}}' % (escaped, escaped)
    raw_server.script(reply(401, body))
    with pytest.raises(PrefactorHttpError) as caught:
        await client.request("GET", "/api/v1/agent")
    assert caught.value.message == "bad [token]"
    assert str(caught.value) == "401: token [token]"
    assert caught.value.errors == {"token": ["[token]"]}
