"""Every call of the API, on the wire: verb, path, key, bytes of the body, and the reply's type."""

import json
from operator import attrgetter
from urllib.parse import unquote_plus

import pytest
from operation_cases import CASES, ODD_ID
from raw_server import reply

from prefactor_http import HttpClientConfig, PrefactorHttpClient, _api
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


def test_every_operation_has_its_case():
    assert {case.operation for case in CASES} == set(OPERATIONS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation.name)
async def test_an_operation_on_the_wire(raw_server, case):
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


def test_names_and_bulk_types_are_unambiguous():
    names = [operation.name for operation in OPERATIONS]
    bulk_types = [operation.bulk for operation in OPERATIONS if operation.bulk is not None]
    assert len(set(names)) == len(names)
    assert len(set(bulk_types)) == len(bulk_types)
    assert set(_api.BY_BULK_TYPE) == set(bulk_types)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation.name)
async def test_an_operation_survives_the_loss_of_its_first_reply(raw_server, case):
    raw_server.script(b"", reply(body=answer_to(case)))
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, "token-1234")) as client:
        assert await case.call(client) is not None
    first, second = raw_server.requests
    assert first.raw == second.raw


@pytest.mark.parametrize("name", [o.name for o in OPERATIONS])
async def test_an_operations_name_is_the_path_to_its_method(name):
    async with PrefactorHttpClient(HttpClientConfig("http://127.0.0.1:1", "token-1234")) as client:
        assert callable(attrgetter(name)(client))
