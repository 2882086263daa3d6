"""A repeated bulk request: calls that fail in the second response may have been applied."""

import pytest
from raw_server import reply

from prefactor_http import (
    BulkItem,
    BulkRequest,
    HttpClientConfig,
    PrefactorApiError,
    PrefactorHttpClient,
    PrefactorResponseContractError,
)

INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "status": "active",
    "inserted_at": "2026-05-01T12:00:00Z",
    "updated_at": "2026-05-01T12:00:00Z",
}
SPAN = {
    "type": "agent_span",
    "id": "s-1",
    "agent_instance_id": "i-1",
    "schema_name": "step",
    "status": "complete",
}
INVALID_ACTION = {"status": "error", "code": "invalid_action", "message": "not now"}
TAKEN = {"status": "error", "code": "validation_errors", "errors": {"id": ["is taken"]}}
LOST = b""


@pytest.fixture
async def client(raw_server):
    config = HttpClientConfig(raw_server.url, "token-1234", initial_retry_delay=0.001)
    async with PrefactorHttpClient(config) as client:
        yield client


def success(resource):
    return {"status": "success", "details": resource}


def outputs(**by_key):
    by_key = {key.replace("_", "-"): output for key, output in by_key.items()}
    return reply(body={"status": "success", "outputs": by_key})


def start(number=1, instance="i-1"):
    return BulkItem(
        _type="agent_instances/start",
        idempotency_key=f"key-000{number}",
        agent_instance_id=instance,
    )


async def execute(client, *items):
    return await client.bulk.execute(BulkRequest(items=list(items)))


async def test_a_refusal_that_the_lost_attempt_caused_is_a_success(raw_server, client):
    raw_server.script(LOST, outputs(key_0001=INVALID_ACTION), reply(body=success(INSTANCE)))
    response = await execute(client, start())
    assert response.outputs["key-0001"].decode().status == "active"
    assert [request.method for request in raw_server.requests] == ["POST", "POST", "GET"]


async def test_a_finished_span_is_found_in_the_list_of_its_instance(raw_server, client):
    raw_server.script(reply(body=success({**SPAN, "status": "active"})))
    await client.agent_spans.create("i-1", "step", "active")
    page = {"status": "success", "summaries": [SPAN]}
    raw_server.script(LOST, outputs(key_0001=INVALID_ACTION), reply(404), reply(body=page))
    item = BulkItem(_type="agent_spans/finish", idempotency_key="key-0001", agent_span_id="s-1")
    response = await execute(client, item)
    assert response.outputs["key-0001"].decode().status == "complete"


async def test_a_repeated_register_whose_id_is_taken_is_a_success(raw_server, client):
    raw_server.script(LOST, outputs(key_0001=TAKEN), reply(body=success(INSTANCE)))
    item = BulkItem(_type="agent_instances/register", idempotency_key="key-0001", id="i-1")
    response = await execute(client, item)
    assert response.outputs["key-0001"].decode().id == "i-1"


@pytest.mark.parametrize(
    ("read", "unknown"),
    [
        (success({**INSTANCE, "status": "cancelled"}), False),
        (success({**INSTANCE, "id": "i-2"}), True),
    ],
)
async def test_a_refusal_that_the_lost_attempt_did_not_cause_stays_an_error(
    raw_server, client, read, unknown
):
    raw_server.script(LOST, outputs(key_0001=INVALID_ACTION), *[reply(body=read)] * 2)
    output = (await execute(client, start())).outputs["key-0001"]
    with pytest.raises(PrefactorApiError) as caught:
        output.decode()
    assert caught.value.outcome_unknown is unknown


@pytest.mark.parametrize(
    ("kind", "code", "unknown"),
    [
        ("agent_instances/start", "service_unavailable", True),
        ("calls/of_tomorrow", "invalid_action", True),
        ("agents/delete", "not_found", True),
        # An earlier success cannot cause these.
        ("calls/of_tomorrow", "forbidden", False),
        ("agent_instances/start", "idempotency_conflict", False),
        ("agent_instances/start", "not_found", False),
    ],
)
async def test_an_unverifiable_refusal_is_unknown_only_if_an_own_success_can_cause_it(
    raw_server, client, kind, code, unknown
):
    failed = {"status": "error", "code": code}
    raw_server.script(LOST, outputs(key_0001=failed))
    item = BulkItem(_type=kind, idempotency_key="key-0001", agent_instance_id="i-1")
    output = (await execute(client, item)).outputs["key-0001"]
    with pytest.raises(PrefactorApiError) as caught:
        output.decode()
    assert caught.value.outcome_unknown is unknown


async def test_items_after_a_failure_were_not_attempted_unless_an_attempt_was_lost(
    raw_server, client
):
    raw_server.script(outputs(key_0001=INVALID_ACTION))
    response = await execute(client, start(), start(2))
    assert (response.not_attempted, response.unknown) == (("key-0002",), ())
    raw_server.script(LOST, outputs(key_0001=TAKEN))
    response = await execute(client, start(), start(2))
    assert (response.not_attempted, response.unknown) == ((), ("key-0002",))


@pytest.mark.parametrize("output", [success(INSTANCE), {"status": "odd"}])
async def test_an_item_whose_output_is_missing_is_unknown(raw_server, client, output):
    raw_server.script(outputs(key_0001=output))
    response = await execute(client, start(), start(2))
    assert (response.not_attempted, response.unknown) == ((), ("key-0002",))


async def test_a_broken_output_of_a_repeated_request_is_raised_when_it_is_decoded(
    raw_server, client
):
    raw_server.script(LOST, outputs(key_0001={"status": "odd"}))
    output = (await execute(client, start())).outputs["key-0001"]
    with pytest.raises(PrefactorResponseContractError) as caught:
        output.decode()
    assert caught.value.outcome_unknown


async def test_an_output_about_another_resource_repeats_the_request(raw_server, client):
    wrong, right = success({**INSTANCE, "id": "i-2"}), success(INSTANCE)
    raw_server.script(outputs(key_0001=wrong), outputs(key_0001=right))
    assert (await execute(client, start())).outputs["key-0001"].decode().id == "i-1"
    raw_server.script(*[outputs(key_0001=wrong)] * 2)
    output = (await execute(client, start())).outputs["key-0001"]
    with pytest.raises(PrefactorResponseContractError, match=r"'i-2'.*'i-1'") as caught:
        output.decode()
    assert caught.value.outcome_unknown


async def test_outputs_without_identity_are_not_trusted_beside_a_wrong_one(raw_server, client):
    named = BulkItem(
        _type="agent_instances/register", idempotency_key="key-0001", external_identifier="mine"
    )
    own_id = BulkItem(_type="agent_instances/register", idempotency_key="key-0002", id="i-2")
    swapped = outputs(
        key_0001=success({**INSTANCE, "id": "i-2"}), key_0002=success({**INSTANCE, "id": "i-1"})
    )
    right = outputs(key_0001=success(INSTANCE), key_0002=success({**INSTANCE, "id": "i-2"}))
    raw_server.script(swapped, right)
    response = await execute(client, named, own_id)
    assert [response.outputs[f"key-000{n}"].decode().id for n in (1, 2)] == ["i-1", "i-2"]
    raw_server.script(swapped, swapped)
    response = await execute(client, named, own_id)
    with pytest.raises(PrefactorResponseContractError, match="belongs to key-0002"):
        response.outputs["key-0001"].decode()


async def test_new_resources_with_different_names_cannot_have_the_same_id(raw_server, client):
    items = [
        BulkItem(
            _type="agent_instances/register",
            idempotency_key=f"key-000{number}",
            external_identifier=f"name {number}",
        )
        for number in (1, 2)
    ]
    raw_server.script(*[outputs(key_0001=success(INSTANCE), key_0002=success(INSTANCE))] * 2)
    response = await execute(client, *items)
    for key in ("key-0001", "key-0002"):
        with pytest.raises(PrefactorResponseContractError, match="the same id 'i-1'"):
            response.outputs[key].decode()
