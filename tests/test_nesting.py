"""Deeply nested JSON raises an ordinary error, whatever Python's recursion limit is."""

import pytest
from raw_server import reply

from prefactor_http import (
    BulkItem,
    BulkRequest,
    HttpClientConfig,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorValidationError,
)

# Beyond every limit, near the limits of Python 3.11 to 3.13, and far below them.
DEPTHS = [100_000, 20_000, 5_000, 1_200, 600, 100]
TOO_DEEP = DEPTHS[:2]


@pytest.fixture
async def client(raw_server):
    config = HttpClientConfig(raw_server.url, "token-1234", max_retries=0)
    async with PrefactorHttpClient(config) as client:
        yield client


def value_of_depth(depth):
    value = 1
    for _ in range(depth // 2):
        value = {"a": [value]}
    return value


def json_of_depth(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("depth", TOO_DEEP)
async def test_a_request_that_is_nested_too_deep_is_not_sent(raw_server, client, depth):
    value = value_of_depth(depth)
    for call in (
        client.agent_spans.finish("s-1", result_payload={"value": value}),
        client.agent_instances.register("a", {"value": value}, {}),
        client.request("POST", "/api/v1/x", json_data={"value": value}),
    ):
        with pytest.raises(ValueError, match="nested too deep, or refers to itself"):
            await call
    rows = [{"agent_version": {"value": value}, "agent_schema_version": {}}]
    items = [BulkItem(_type="some/thing", idempotency_key="key-0001", value=value)]
    for stream in (
        client.agent_instances.register_many(rows, job="j"),
        client.agent_instances.register_many(rows),
        client.bulk.stream(items),
    ):
        (outcome,) = [outcome async for outcome in stream]
        assert outcome.failed
        assert "nested too deep, or refers to itself" in str(outcome.error)
    assert raw_server.requests == []


@pytest.mark.parametrize("depth", TOO_DEEP)
async def test_a_success_that_is_nested_too_deep_breaks_the_contract(raw_server, client, depth):
    raw_server.script(reply(body=b'{"status":"success","details":' + json_of_depth(depth) + b"}"))
    with pytest.raises(PrefactorResponseContractError) as caught:
        await client.request("POST", "/api/v1/x")
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("depth", DEPTHS)
async def test_an_error_that_is_nested_too_deep_keeps_the_class_of_its_status(
    raw_server, client, depth
):
    raw_server.script(reply(422, b'{"errors":' + json_of_depth(depth) + b"}"))
    with pytest.raises(PrefactorValidationError) as caught:
        await client.request("POST", "/api/v1/x")
    assert len(str(caught.value)) < 1000


async def test_an_error_keeps_ordinary_levels_of_nesting(raw_server, client):
    errors = b'{"details":{"items":[{"id":["is taken"]}]}}'
    raw_server.script(reply(422, b'{"errors":' + errors + b"}"))
    with pytest.raises(PrefactorValidationError) as caught:
        await client.request("POST", "/api/v1/x")
    assert caught.value.errors == {"details": {"items": [{"id": ["is taken"]}]}}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("status", ["success", "error"])
async def test_a_deeply_nested_bulk_output_is_decoded_or_raises(raw_server, client, status, depth):
    deep = json_of_depth(depth).decode()
    output = f'{{"status":"{status}","code":"x","details":{deep},"errors":{deep}}}'
    body = f'{{"status":"success","outputs":{{"key-0001":{output}}}}}'
    raw_server.script(reply(body=body.encode()))
    item = BulkItem(_type="agents/create", idempotency_key="key-0001")
    try:
        response = await client.bulk.execute(BulkRequest(items=[item]))
    except PrefactorResponseContractError:
        return
    with pytest.raises(PrefactorHttpError):
        response.outputs["key-0001"].decode()
