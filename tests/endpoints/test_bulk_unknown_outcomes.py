"""`bulk.execute` reports which calls may have been applied, also after a lost response."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from raw_server import Request, reply

from prefactor_http import (
    BulkItem,
    BulkRequest,
    HttpClientConfig,
    PrefactorConflictError,
    PrefactorConnectionError,
    PrefactorHttpClient,
    PrefactorHttpError,
    PrefactorResponseContractError,
)

MOMENT = "2026-06-01T08:00:00Z"
CUT = b""
INVALID = {"status": "error", "code": "invalid_action", "message": "no"}
ONE, TWO, THREE = "key-0001", "key-0002", "key-0003"


def instance_of(id: str, status: str, **fields: Any) -> dict[str, Any]:
    ids = dict.fromkeys(("account_id", "agent_id", "agent_version_id", "environment_id"), "x")
    moments = {"inserted_at": MOMENT, "updated_at": MOMENT}
    return {"type": "agent_instance", "id": id, "status": status, **ids, **moments, **fields}


def success(details: Any) -> dict[str, Any]:
    return {"status": "success", "details": details}


def outputs(**by_key: Any) -> bytes:
    return reply(200, {"status": "success", "outputs": by_key})


def item(kind: str, key: str = ONE, **fields: Any) -> BulkItem:
    return BulkItem(_type=kind, idempotency_key=key, **fields)


def start(key: str = ONE, instance: Any = "i-1") -> BulkItem:
    return item("agent_instances/start", key, agent_instance_id=instance, timestamp=MOMENT)


@pytest.fixture
async def fast_client(raw_server):
    config = HttpClientConfig(
        raw_server.url, "token-1234", initial_retry_delay=0.001, max_retry_delay=0.01
    )
    async with PrefactorHttpClient(config) as client:
        yield client


async def execute(client, *items):
    return await client.bulk.execute(BulkRequest(items=list(items)))


@pytest.mark.parametrize(
    ("found", "ends"),
    [
        (reply(200, success(instance_of("i-1", "active", started_at=MOMENT))), "ok"),
        (reply(200, success(instance_of("i-1", "cancelled"))), "failed"),
        (reply(200, success(instance_of("i-1", "pending"))), "unknown"),
        (reply(404, INVALID), "unknown"),
    ],
)
async def test_a_refusal_after_a_lost_response_is_verified(raw_server, fast_client, found, ends):
    raw_server.script(CUT, outputs(**{ONE: INVALID}), found)
    response = await execute(fast_client, start(), start(TWO, "i-2"))
    output = response.outputs[ONE]
    if ends == "ok":
        assert output.ok
        assert output.decode().status == "active"
    else:
        with pytest.raises(PrefactorConflictError) as caught:
            output.decode()
        assert caught.value.outcome_unknown == (ends == "unknown")
        assert caught.value.idempotency_key == ONE
    # Each attempt stopped at the first call only if that call was never applied.
    if ends == "failed":
        assert (response.not_attempted, response.unknown) == ((TWO,), ())
    else:
        assert (response.not_attempted, response.unknown) == ((), (TWO,))


@pytest.mark.parametrize(
    ("kind", "refusal", "unknown"),
    [
        ("some/thing", {"code": "validation_errors", "errors": {"purpose": ["odd"]}}, False),
        ("some/thing", {"code": "validation_errors", "errors": {"id": ["taken"]}}, True),
        ("agents/delete", {"code": "not_found"}, True),
        ("some/thing", {"code": "internal_server_error"}, True),
        ("some/thing", {"code": "idempotency_conflict"}, False),
    ],
)
async def test_only_a_refusal_that_an_own_success_can_cause_leaves_the_outcome_unknown(
    raw_server, fast_client, kind, refusal, unknown
):
    raw_server.script(CUT, outputs(**{ONE: {"status": "error", **refusal}}))
    response = await execute(fast_client, item(kind, agent_id="a"))
    with pytest.raises(PrefactorHttpError) as caught:
        response.outputs[ONE].decode()
    assert caught.value.outcome_unknown == unknown
    again = pickle.loads(pickle.dumps(response.outputs[ONE]))
    with pytest.raises(PrefactorHttpError) as caught:
        again.decode()
    assert caught.value.outcome_unknown == unknown


async def test_without_a_lost_response_a_refusal_is_final(raw_server, fast_client):
    raw_server.script(outputs(**{ONE: INVALID}))
    response = await execute(fast_client, start(), start(TWO))
    with pytest.raises(PrefactorConflictError) as caught:
        response.outputs[ONE].decode()
    assert not caught.value.outcome_unknown
    assert response.not_attempted == (TWO,)
    assert len(raw_server.requests) == 1


async def test_an_id_that_is_not_text_leaves_the_outcome_unknown(raw_server, fast_client):
    raw_server.script(CUT, outputs(**{ONE: INVALID}))
    response = await execute(fast_client, start(instance=7))
    with pytest.raises(PrefactorConflictError) as caught:
        response.outputs[ONE].decode()
    assert caught.value.outcome_unknown


async def test_a_span_is_verified_through_the_list_of_its_instance(raw_server, fast_client):
    span = {
        "type": "agent_span",
        "id": "s-1",
        "agent_instance_id": "i-1",
        "schema_name": "llm",
        "status": "active",
        "payload": {},
    }

    def answer(request: Request) -> bytes:
        if request.target.startswith("/api/v1/agent_spans/"):
            return reply(404, {"status": "error", "code": "not_found"})
        return reply(200, {"status": "success", "summaries": [span]})

    taken = {"status": "error", "code": "validation_errors", "errors": {"id": ["taken"]}}
    raw_server.script(CUT, outputs(**{ONE: taken}))
    raw_server.answer = answer
    details = {"id": "s-1", "agent_instance_id": "i-1", "schema_name": "llm", "status": "active"}
    response = await execute(fast_client, item("agent_spans/create", details=details))
    assert response.outputs[ONE].decode().id == "s-1"


async def test_a_call_without_output_and_without_an_earlier_failure_is_unknown(
    raw_server, fast_client
):
    done = {"status": "success"}
    raw_server.script(outputs(**{TWO: INVALID}), outputs(**{ONE: done}))
    calls = [item("some/thing", key) for key in (ONE, TWO, THREE)]
    response = await execute(fast_client, *calls)
    assert (response.not_attempted, response.unknown) == ((THREE,), (ONE,))
    response = await execute(fast_client, *calls)
    assert (response.not_attempted, response.unknown) == ((), (TWO, THREE))


async def test_an_output_under_an_unknown_key_can_belong_to_any_call(raw_server, fast_client):
    raw_server.script(outputs(**{ONE: INVALID, "unknown-key": {"status": "success"}}))
    response = await execute(fast_client, item("some/thing"), item("some/thing", TWO))
    assert (response.not_attempted, response.unknown) == ((), (TWO,))


async def test_outputs_about_another_resource_repeat_the_request(raw_server, fast_client):
    wrong = outputs(**{ONE: success(instance_of("i-2", "active"))})
    raw_server.script(wrong, outputs(**{ONE: success(instance_of("i-1", "active"))}))
    response = await execute(fast_client, start())
    assert response.outputs[ONE].decode().id == "i-1"
    first, second = raw_server.requests
    assert first.body == second.body
    assert first.connection != second.connection


@pytest.mark.parametrize("details", [instance_of("i-2", "active"), instance_of("i-1", "pending")])
async def test_repeated_outputs_about_another_resource_are_contract_errors(
    raw_server, fast_client, details
):
    raw_server.script(*[outputs(**{ONE: success(details)})] * 2)
    output = (await execute(fast_client, start())).outputs[ONE]
    for each in (output, pickle.loads(pickle.dumps(output))):
        with pytest.raises(PrefactorResponseContractError, match="i-1") as caught:
            each.decode()
        assert caught.value.outcome_unknown
        assert caught.value.idempotency_key == ONE


@pytest.mark.parametrize("names", [(None, None), ("a", "b")])
async def test_new_resources_cannot_have_the_same_id(raw_server, fast_client, names):
    both = {key: success(instance_of("i-1", "pending")) for key in (ONE, TWO)}
    raw_server.script(*[outputs(**both)] * 2)
    calls = [
        item("agent_instances/register", key, external_identifier=name)
        for key, name in zip((ONE, TWO), names, strict=True)
    ]
    response = await execute(fast_client, *calls)
    for output in response.outputs.values():
        with pytest.raises(PrefactorResponseContractError, match="same id 'i-1'"):
            output.decode()


async def test_a_failed_repetition_leaves_the_outcome_unknown(raw_server):
    config = HttpClientConfig(raw_server.url, "token-1234", max_retries=0)
    raw_server.script(outputs(**{ONE: success(instance_of("i-2", "active"))}), CUT)
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorConnectionError) as caught:
            await execute(client, start())
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("output", [success("text"), {"status": "odd"}, success({"id": 7})])
async def test_an_output_that_cannot_be_decoded_leaves_the_outcome_unknown(
    raw_server, fast_client, output
):
    raw_server.script(outputs(**{ONE: output}))
    with pytest.raises(PrefactorResponseContractError) as caught:
        (await execute(fast_client, start())).outputs[ONE].decode()
    assert caught.value.outcome_unknown
    assert caught.value.path == "/api/v1/bulk"


async def test_a_read_that_cannot_be_decoded_has_a_known_outcome(raw_server, fast_client):
    raw_server.script(outputs(**{ONE: success("text")}))
    output = (await execute(fast_client, item("agents/show", agent_id="a"))).outputs[ONE]
    with pytest.raises(PrefactorResponseContractError) as caught:
        output.decode()
    assert not caught.value.outcome_unknown


TOKEN = "canary-7f3a9"


@pytest.mark.parametrize(
    "output",
    [
        {
            "status": "error",
            "code": "forbidden",
            "message": f"no {TOKEN}",
            "errors": {"token": [TOKEN]},
        },
        success(f"Bearer {TOKEN}"),
        {"status": TOKEN},
    ],
)
async def test_errors_of_outputs_do_not_contain_the_token(raw_server, output):
    raw_server.script(outputs(**{ONE: output}))
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, TOKEN)) as client:
        found = (await execute(client, start())).outputs[ONE]
    for each in (found, pickle.loads(pickle.dumps(found))):
        with pytest.raises(PrefactorHttpError) as caught:
            each.decode()
        assert TOKEN not in f"{caught.value}{vars(caught.value)}{pickle.dumps(caught.value)!r}"
    assert TOKEN not in str(found.raw)


async def test_a_token_in_the_data_of_an_output_is_not_redacted(raw_server):
    made = instance_of("i-1", "active", external_identifier=f"of {TOKEN}")
    raw_server.script(outputs(**{ONE: success(made)}))
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, TOKEN)) as client:
        found = (await execute(client, start())).outputs[ONE]
    assert found.decode().external_identifier == f"of {TOKEN}"
