"""`bulk.execute`: typed results and errors, calls that were not attempted, and safe repeats."""

import pickle
from datetime import datetime

import pytest
from raw_server import reply

from prefactor_http import (
    AgentInstance,
    AgentSpan,
    BulkItem,
    BulkRequest,
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorConflictError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorRateLimitError,
    PrefactorResponseContractError,
    PrefactorValidationError,
)
from prefactor_http.exceptions import is_transient_http_error
from prefactor_http.models import Agent, AgentSummary, Environment
from prefactor_http.testing import FaultKind


def item(kind, number=1, **fields):
    return BulkItem(_type=kind, idempotency_key=f"key-{number:04}", **fields)


def register(api, number):
    return item(
        "agent_instances/register",
        number,
        agent_id=api.agent_id,
        environment_id=api.environment_id,
        agent_version={"external_identifier": "v1"},
        agent_schema_version={"external_identifier": "s1", "span_type_schemas": []},
    )


async def execute(client, *items):
    return await client.bulk.execute(BulkRequest(items=list(items)))


async def output_of(raw_server, raw_client, output, kind="agents/show"):
    body = {"status": "success", "outputs": {"key-0001": output}}
    raw_server.script(reply(body=body))
    return (await execute(raw_client, item(kind))).outputs["key-0001"]


async def test_each_output_is_decoded_as_the_response_to_its_call(api, client, instance):
    span = {"agent_instance_id": instance.id, "schema_name": "agent:llm", "status": "active"}
    response = await execute(
        client,
        register(api, 1),
        item("agent_spans/create", 2, details={**span, "payload": {}}),
        item("agents/list", 3),
        item("agents/show", 4, agent_id=api.agent_id),
        item("environments/show", 5, environment_id=api.environment_id),
        item("agent_instances/finish", 6, agent_instance_id=instance.id, status="failed"),
    )
    results = [output.decode() for output in response.outputs.values()]
    assert [type(result) for result in results[:2]] == [AgentInstance, AgentSpan]
    assert [type(agent) for agent in results[2]] == [AgentSummary]
    assert [type(result) for result in results[3:]] == [Agent, Environment, AgentInstance]
    assert isinstance(results[0].inserted_at, datetime)
    assert results[5].status == "failed"
    assert response.not_attempted == ()


async def test_ok_failed_and_not_attempted_calls_are_distinguished(api, client):
    items = [register(api, 1), item("agents/show", 2, agent_id="x"), register(api, 3)]
    response = await execute(client, *items)
    assert [output.ok for output in response.outputs.values()] == [True, False]
    assert response.not_attempted == ("key-0003",)
    with pytest.raises(PrefactorNotFoundError) as caught:
        response.outputs["key-0002"].decode()
    assert caught.value.idempotency_key == "key-0002"
    rest = await execute(client, *(i for i in items if i.idempotency_key == "key-0003"))
    assert rest.outputs["key-0003"].decode().status == "pending"
    assert api.doubled == api.lost == []


@pytest.mark.parametrize("fault", [FaultKind.APPLIED_THEN_RESET, FaultKind.APPLIED_THEN_500])
async def test_a_request_whose_response_is_lost_is_repeated_and_applied_once(api, client, fault):
    api.fail_next(fault)
    response = await execute(client, *(register(api, number) for number in range(1, 11)))
    assert all(output.ok for output in response.outputs.values())
    first, second = api.requests
    assert first.body == second.body
    assert len(await client.agent_instances.list()) == 10
    assert api.doubled == api.lost == []


@pytest.mark.parametrize(
    ("code", "error", "status", "outcome_unknown"),
    [
        ("bad_request", PrefactorValidationError, 400, False),
        ("bad_authtoken", PrefactorAuthError, 401, False),
        ("forbidden", PrefactorAuthError, 403, False),
        ("not_found", PrefactorNotFoundError, 404, False),
        ("invalid_action", PrefactorConflictError, 409, False),
        ("idempotency_conflict", PrefactorConflictError, 409, False),
        ("idempotency_in_progress", PrefactorConflictError, 409, True),
        ("validation_errors", PrefactorValidationError, 422, False),
        ("rate_limited", PrefactorRateLimitError, 429, False),
        ("internal_server_error", PrefactorApiError, 500, False),
        ("service_unavailable", PrefactorApiError, 503, False),
        ("of_tomorrow", PrefactorApiError, 200, False),
    ],
)
@pytest.mark.parametrize("kind", ["agents/show", "calls/of_tomorrow"])
async def test_an_items_error_is_that_of_the_direct_call(
    raw_server, raw_client, kind, code, error, status, outcome_unknown
):
    problems = {"name": ["is odd"]}
    failed = {"status": "error", "code": code, "message": "No.", "errors": problems}
    output = await output_of(raw_server, raw_client, failed, kind)
    with pytest.raises(PrefactorApiError, match="name is odd") as caught:
        output.decode()
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.status_code) == (code, status)
    assert caught.value.errors == problems
    assert caught.value.message == "No."
    assert caught.value.outcome_unknown is outcome_unknown
    assert (caught.value.method, caught.value.path) == ("POST", "/api/v1/bulk")
    assert caught.value.idempotency_key == "key-0001"


@pytest.mark.parametrize("code", ["rate_limited", "service_unavailable", "idempotency_in_progress"])
async def test_an_items_error_is_transient_or_not(api, client, code):
    api.fail_next_item(code)
    (output,) = (await execute(client, register(api, 1))).outputs.values()
    with pytest.raises(PrefactorApiError) as caught:
        output.decode()
    assert is_transient_http_error(caught.value)


async def test_an_items_error_without_a_message_names_its_call(raw_server, raw_client):
    output = await output_of(raw_server, raw_client, {"status": "error", "errors": ["odd"]})
    with pytest.raises(PrefactorApiError, match=r"^agents/show: unknown$") as caught:
        output.decode()
    assert caught.value.errors == {}


@pytest.mark.parametrize(
    ("kind", "output", "problem"),
    [
        ("agents/show", {"status": "success"}, "agents/show: .* missing required field `details`"),
        ("agents/list", {"status": "success", "summaries": [{}]}, "agents/list: .*`type`"),
    ],
)
async def test_an_output_with_another_shape_than_its_calls_response_breaks_the_contract(
    raw_server, raw_client, kind, output, problem
):
    received = await output_of(raw_server, raw_client, output, kind)
    assert received.ok
    with pytest.raises(PrefactorResponseContractError, match=problem) as caught:
        received.decode()
    assert caught.value.body_snippet.startswith('{"status"')
    assert caught.value.idempotency_key == "key-0001"


async def test_an_output_that_is_not_unicode_breaks_the_contract(raw_server, raw_client):
    body = b'{"outputs":{"key-0001":{"status":"success","details":{"id":"\xff","type":""}}}}'
    raw_server.script(reply(body=body))
    with pytest.raises(PrefactorResponseContractError):
        (await execute(raw_client, item("agents/show"))).outputs["key-0001"].decode()


async def test_an_output_of_an_unknown_call_is_a_dict(raw_server, raw_client):
    output = await output_of(raw_server, raw_client, {"status": "success", "x": 1}, "new/call")
    assert output.decode() == {"status": "success", "x": 1}


async def test_an_output_of_an_item_that_was_not_sent_is_kept(raw_server, raw_client):
    outputs = {"key-0009": {"status": "success"}}
    raw_server.script(reply(body={"status": "success", "outputs": outputs}))
    response = await execute(raw_client, item("agents/show"))
    assert response.outputs["key-0009"].decode() == {"status": "success"}
    assert response.not_attempted == ()
    assert response.unknown == ("key-0001",)


async def test_the_control_signal_beside_a_span_can_be_read(client, instance):
    await client.agent_instances.terminate(instance.id, "enough")
    span = {"agent_instance_id": instance.id, "schema_name": "agent:llm", "status": "active"}
    response = await execute(client, item("agent_spans/create", details={**span, "payload": {}}))
    (output,) = response.outputs.values()
    assert output.control == {"terminate": True, "reason": "enough"}
    assert output.decode().agent_instance_id == instance.id


async def test_outputs_can_be_pickled_after_they_were_decoded(api, client):
    (output,) = (await execute(client, register(api, 1))).outputs.values()
    assert pickle.loads(pickle.dumps(output)).decode() == output.decode()


async def test_the_error_of_a_whole_request_has_no_idempotency_key(raw_server, raw_client):
    raw_server.script(reply(422, {"status": "error", "code": "validation_errors", "errors": {}}))
    with pytest.raises(PrefactorValidationError) as caught:
        await execute(raw_client, item("agents/show"))
    assert caught.value.idempotency_key is None
    assert caught.value.path == "/api/v1/bulk"


async def test_a_request_without_a_response_has_an_unknown_outcome(raw_server, raw_client):
    raw_server.script(*[b""] * 4)
    with pytest.raises(PrefactorHttpError) as caught:
        await execute(raw_client.with_options(initial_retry_delay=0.001), item("agents/show"))
    assert caught.value.outcome_unknown
    assert caught.value.attempts == 4


async def test_a_response_without_outputs_breaks_the_contract(raw_server, raw_client):
    raw_server.script(reply(body={"status": "success"}))
    with pytest.raises(PrefactorResponseContractError, match="outputs"):
        await execute(raw_client, item("agents/show"))


async def test_an_item_without_a_json_form_is_not_sent(raw_server, raw_client):
    with pytest.raises(TypeError, match=r"bulk\.execute: cannot encode the request as JSON"):
        await execute(raw_client, item("agents/create", details={"name": object}))
    assert raw_server.requests == []


@pytest.mark.parametrize("request_", [None, {"items": []}, [item("agents/show")]], ids=repr)
async def test_only_a_bulk_request_can_be_executed(raw_server, raw_client, request_):
    allowed = rf"takes a BulkRequest\(items=\[...\]\), not {type(request_).__name__}"
    with pytest.raises(TypeError, match=allowed):
        await raw_client.bulk.execute(request_)
    assert raw_server.requests == []
