"""Every operation on the wire: verb, path, idempotency key, body, and the type of the result."""

import asyncio
import json
import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from operation_cases import CASES, ODD_ID, QUOTED
from raw_server import reply

from prefactor_http import (
    HttpClientConfig,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    _api,
)
from prefactor_http._bulk.operation import REGISTER_MANY, STREAM
from prefactor_http._http.operation import Operation
from prefactor_http.endpoints.page import Page

RESOURCE = {
    "type": "of whatever kind",
    "id": "r-1",
    "name": "a name",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "agent_instance_id": "i-1",
    "environment_id": "e-1",
    "schema_name": "agent:llm",
    "status": "complete",
    "inserted_at": "2024-05-01T12:00:00Z",
    "updated_at": "2024-05-01T12:00:00Z",
}
SENT_BY_QUERY = (
    "agent_instance_id",
    "agent_id",
    "agent_version_id",
    "account_id",
    "team_id",
    "owner_person_id",
    "external_identifier",
)
CONTRACT = Path(__file__).parents[2] / "docs" / "api-contract.md"
# Calls of the contract that the client leaves to `PrefactorHttpClient.request`.
NOT_IN_CLIENT = {"GET /api/v1/openapi"}
OPERATIONS = [
    *(value for value in vars(_api).values() if isinstance(value, Operation)),
    STREAM,
    REGISTER_MANY,
]


def canonical(request_line):
    """A request line without the freedom that RFC 3986 leaves in a query."""
    verb, target = request_line.split(" ", 1)
    path, mark, query = target.partition("?")
    # Brackets, colons and the like may or may not be percent-encoded there; ids in paths always.
    pairs = sorted(tuple(map(unquote_plus, pair.split("="))) for pair in query.split("&") if pair)
    return verb, path, mark, pairs


def answer_to(case):
    """A success that repeats the ids and names of the case's request."""
    if case.answer is not None:
        return {"status": "success", **case.answer}
    operation = case.operation
    _, _, _, pairs = canonical(case.request_line)
    body = json.loads(case.body or b"{}")
    sent = body.get("details", body.get("items", [body])[0])
    named = {"id": ODD_ID} if "{" in operation.path else {}
    named |= {name: value for name, value in pairs if name in SENT_BY_QUERY}
    named |= {name: sent[name] for name in ("id", "external_identifier") if name in sent}
    resource = {**RESOURCE, **named}
    if operation.carries_items:
        resource["id"] = sent.get("agent_id", RESOURCE["id"])
        return {"status": "success", "outputs": {"key-0001": details(resource)}}
    if "list" in operation.name:
        return {"status": "success", "summaries": [resource, resource]}
    return details(resource)


def details(resource):
    return {"status": "success", "details": resource, "control": {"terminate": False}}


def call_of(case):
    """Verb and path of a case, as the contract writes them."""
    verb, target = case.request_line.split(" ", 1)
    path = target.partition("?")[0].removeprefix("/api/v1").replace(QUOTED, "{id}")
    return f"{verb} {path}"


def contract_tables():
    """The cells of each row of each table in the contract."""
    for line in CONTRACT.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def calls_in(cell):
    return re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]+)`", cell)


def test_every_operation_has_its_case():
    assert {case.operation for case in CASES} == set(OPERATIONS)


def test_every_call_of_the_contract_is_in_the_client():
    contract = set(calls_in(CONTRACT.read_text(encoding="utf-8")))
    assert len(contract) > 40
    assert contract - {call_of(case) for case in CASES} == NOT_IN_CLIENT


def test_every_bulk_type_of_the_contract_belongs_to_its_call():
    contract = {cells[0].strip("`"): calls_in(cells[1]) for cells in contract_tables()}
    contract = {kind: calls for kind, calls in contract.items() if re.fullmatch(r"\w+/\w+", kind)}
    cases = {case.bulk: call_of(case) for case in CASES if case.bulk is not None}
    assert len(contract) > 20
    assert contract.keys() <= cases.keys()
    for kind, calls in contract.items():
        assert cases[kind] in calls


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation.name)
def test_an_operation_has_the_bulk_type_of_its_case(case):
    assert case.operation.bulk == case.bulk


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation.name)
async def test_an_operation_sends_this_request(raw_server, case):
    raw_server.script(reply(body=answer_to(case)))
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, "token-1234")) as client:
        result = await case.call(client)
    request = raw_server.request
    assert canonical(f"{request.method} {request.target}") == canonical(case.request_line)
    assert request.body == case.body
    if request.method == "GET":
        assert "idempotency" not in request.raw.decode().lower()
    if "list" in case.operation.name:
        assert type(result) is Page
        assert [type(item) for item in result] == [case.result] * 2
        assert {item.id for item in result} == {"r-1"}
    else:
        assert type(result) is case.result


def test_names_and_bulk_types_are_unique():
    names = [operation.name for operation in OPERATIONS]
    bulk_types = [operation.bulk for operation in OPERATIONS if operation.bulk is not None]
    assert len(set(names)) == len(names)
    assert len(set(bulk_types)) == len(bulk_types)
    assert set(_api.BY_BULK_TYPE) == set(bulk_types)


REPEATABLE = [case for case in CASES if case.operation.repeatable]
NOT_REPEATABLE = [case for case in CASES if not case.operation.repeatable]


@pytest.fixture
def config(raw_server):
    return HttpClientConfig(
        raw_server.url, "token-1234", initial_retry_delay=0.001, max_retry_delay=0.01
    )


@pytest.mark.parametrize("case", REPEATABLE, ids=lambda case: case.operation.name)
async def test_a_repeatable_operation_survives_a_lost_response(raw_server, config, case):
    raw_server.script(b"", reply(body=answer_to(case)))
    async with PrefactorHttpClient(config) as client:
        assert await case.call(client) is not None
    first, second = raw_server.requests
    assert first.raw == second.raw


@pytest.mark.parametrize("case", NOT_REPEATABLE, ids=lambda case: case.operation.name)
@pytest.mark.parametrize("is_pooled", [False, True], ids=["new connection", "pooled connection"])
async def test_an_operation_without_a_key_is_not_repeated_after_a_lost_response(
    raw_server, config, case, is_pooled
):
    async with PrefactorHttpClient(config) as client:
        if is_pooled:
            await client.validate_token()
        raw_server.script(b"")
        with pytest.raises(PrefactorHttpError) as caught:
            await case.call(client)
    error = caught.value
    assert (error.attempts, error.outcome_unknown, error.idempotency_key) == (1, True, None)
    assert len(raw_server.requests) == 1 + is_pooled
    assert {request.connection for request in raw_server.requests} == {1}
    assert b"idempotency" not in raw_server.requests[-1].raw.lower()


@pytest.mark.parametrize("case", NOT_REPEATABLE, ids=lambda case: case.operation.name)
@pytest.mark.parametrize(
    "answer",
    [
        reply(500, {"status": "error", "code": "internal_server_error"}),
        reply(503, {"status": "error", "code": "service_unavailable"}, Retry_After="0"),
        reply(409, {"status": "error", "code": "idempotency_in_progress"}),
        reply(200, b'{"status":"succ'),
        reply(200, b"<html>"),
    ],
    ids=["500", "503", "409 in progress", "truncated", "page"],
)
async def test_an_operation_without_a_key_is_not_repeated_after_an_unknown_outcome(
    raw_server, config, case, answer
):
    raw_server.script(answer)
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorHttpError) as caught:
            await case.call(client)
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("case", NOT_REPEATABLE, ids=lambda case: case.operation.name)
@pytest.mark.parametrize("status", [425, 429])
async def test_an_operation_without_a_key_is_repeated_after_a_rejection(
    raw_server, config, case, status
):
    raw_server.script(reply(status), reply(body=answer_to(case)))
    async with PrefactorHttpClient(config) as client:
        await case.call(client)
    assert len(raw_server.requests) == 2


@pytest.mark.parametrize("case", NOT_REPEATABLE, ids=lambda case: case.operation.name)
async def test_an_operation_without_a_key_is_repeated_if_it_was_not_sent(
    raw_server, config, case, unused_tcp_port
):
    config = replace(config, api_url=f"http://127.0.0.1:{unused_tcp_port}", max_retries=2)
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorRetryExhaustedError) as caught:
            await case.call(client)
    assert (caught.value.attempts, caught.value.outcome_unknown) == (3, False)


async def test_a_cancelled_operation_without_a_key_says_so(raw_server, config):
    received = asyncio.Event()
    raw_server.on_request = received.set
    raw_server.answer = lambda _: asyncio.sleep(60, reply())
    async with PrefactorHttpClient(config) as client:
        call = asyncio.create_task(client.environments.delete("e-1"))
        await received.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
    assert caught.value.__notes__ == [
        "environments.delete was cancelled: it may have been applied (it has no idempotency key)"
    ]


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.environments.delete("e-1"),
        lambda c: c.agent_deployments.delete("d-1"),
        lambda c: c.api_tokens.delete("t-1"),
    ],
)
async def test_a_deletion_accepts_an_empty_response(raw_server, config, call, status):
    raw_server.script(reply(status, b""))
    async with PrefactorHttpClient(config) as client:
        assert await call(client) is None


async def test_a_deletion_rejects_a_response_about_another_resource(raw_server, config):
    raw_server.script(reply(body=details({**RESOURCE, "id": "e-2"})))
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorResponseContractError, match="about id 'e-2'"):
            await client.environments.delete("e-1")
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("name", [o.name for o in OPERATIONS])
async def test_the_name_of_an_operation_is_the_path_to_its_method(name):
    async with PrefactorHttpClient(HttpClientConfig("http://127.0.0.1:1", "token-1234")) as client:
        assert callable(attrgetter(name)(client))
