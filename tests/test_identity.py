"""A success counts only if it is about the resource of the call, in a state after the call."""

import asyncio

import pytest
from raw_server import reply

from prefactor_http import (
    HttpClientConfig,
    PrefactorApiError,
    PrefactorConflictError,
    PrefactorHttpClient,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
)
from prefactor_http._http.seen_resources import SeenResources
from prefactor_http._http.span_instances import SpanInstances

MOMENT = "2024-05-01T12:00:00Z"
INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "status": "complete",
    "inserted_at": MOMENT,
    "updated_at": MOMENT,
}
SPAN = {
    "type": "agent_span",
    "id": "s-1",
    "agent_instance_id": "i-1",
    "schema_name": "step",
    "status": "complete",
}
AGENT = {"type": "agent", "id": "a-1", "name": "A", "status": "active"}
VERSIONS = ({"external_identifier": "v1"}, {"external_identifier": "s1", "span_type_schemas": []})


def register(client, **fields):
    return client.agent_instances.register("a-1", *VERSIONS, **fields)


CONTRADICTIONS = [
    # The call, the correct resource, the difference, and the text that the error must contain.
    (lambda c: c.agent_instances.get("i-1"), INSTANCE, {"id": "i-2"}, ("i-2", "i-1")),
    (lambda c: c.agent_instances.start("i-1"), INSTANCE, {"id": "i-2"}, ("i-2", "i-1")),
    (lambda c: c.agent_instances.start("i-1"), INSTANCE, {"status": "pending"}, ("i-1", "pending")),
    (lambda c: c.agent_instances.finish("i-1"), INSTANCE, {"id": "i-2"}, ("i-2", "i-1")),
    (lambda c: c.agent_instances.finish("i-1"), INSTANCE, {"status": "active"}, ("i-1", "active")),
    (lambda c: c.agent_instances.finish("i-1"), INSTANCE, {"status": "pending"}, ("i-1",)),
    (lambda c: c.agent_instances.terminate("i-1", "x"), INSTANCE, {"status": "active"}, ("i-1",)),
    (lambda c: c.agent_instances.record_quality("i-1", "q"), INSTANCE, {"id": "i-2"}, ("i-2",)),
    (lambda c: register(c, id="i-1"), INSTANCE, {"id": "i-2"}, ("i-2", "i-1")),
    (
        lambda c: register(c, external_identifier="mine"),
        {**INSTANCE, "external_identifier": "mine"},
        {"external_identifier": "yours", "id": "i-2"},
        ("yours", "mine", "i-2"),
    ),
    (
        lambda c: c.agent_spans.create("i-1", "step", "active"),
        SPAN,
        {"agent_instance_id": "i-2"},
        ("i-2", "i-1"),
    ),
    (
        lambda c: c.agent_spans.create("i-1", "step", "active", id="s-1"),
        SPAN,
        {"id": "s-2"},
        ("s-2", "s-1"),
    ),
    (lambda c: c.agent_spans.finish("s-1"), SPAN, {"id": "s-2"}, ("s-2", "s-1")),
    (lambda c: c.agent_spans.finish("s-1"), SPAN, {"status": "active"}, ("s-1", "active")),
    (lambda c: c.agents.get("a-1"), AGENT, {"id": "a-2"}, ("a-2", "a-1")),
    (lambda c: c.agents.show(agent_id="a-1"), AGENT, {"id": "a-2"}, ("a-2", "a-1")),
    (
        lambda c: c.agents.show(external_identifier="mine"),
        {**AGENT, "external_identifier": "mine"},
        {"external_identifier": "yours"},
        ("yours", "mine"),
    ),
    (lambda c: c.agents.retire("a-1"), AGENT, {"id": "a-2"}, ("a-2", "a-1")),
    (lambda c: c.agents.create({"name": "A", "id": "a-1"}), AGENT, {"id": "a-2"}, ("a-2", "a-1")),
    (
        lambda c: c.accounts.get("acc-1"),
        {"type": "account", "id": "acc-1"},
        {"id": "acc-2"},
        ("acc-2",),
    ),
]


@pytest.fixture
async def client(raw_server):
    config = HttpClientConfig(raw_server.url, "token-1234", initial_retry_delay=0.001)
    async with PrefactorHttpClient(config) as client:
        yield client


def success(resource):
    return reply(body={"status": "success", "details": resource})


@pytest.mark.parametrize(("call", "right", "difference", "named"), CONTRADICTIONS)
async def test_a_response_about_another_resource_is_retried(
    raw_server, client, call, right, difference, named
):
    raw_server.script(success({**right, **difference}), success(right))
    assert (await call(client)).id == right["id"]
    first, second = raw_server.requests
    assert first.body == second.body


@pytest.mark.parametrize(("call", "right", "difference", "named"), CONTRADICTIONS)
async def test_a_second_contradiction_is_an_error_that_names_both_ids(
    raw_server, client, call, right, difference, named
):
    wrong = {**right, **difference}
    raw_server.script(success(wrong), success(wrong), success(right))
    with pytest.raises(PrefactorResponseContractError) as caught:
        await call(client)
    assert all(name in str(caught.value) for name in named)
    assert caught.value.attempts == 2
    assert caught.value.outcome_unknown == (raw_server.requests[0].method != "GET")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("call", "resource"),
    [
        # Later, unknown and missing values, and surrounding whitespace.
        (lambda c: c.agent_instances.start("i-1"), {**INSTANCE, "status": "terminated"}),
        (lambda c: c.agent_instances.start("i-1"), {**INSTANCE, "status": "paused"}),
        (lambda c: c.agent_instances.finish("i-1"), {**INSTANCE, "status": "failed"}),
        (lambda c: c.agent_instances.get(" i-1 "), INSTANCE),
        (
            lambda c: register(c, external_identifier=" mine"),
            {**INSTANCE, "external_identifier": "mine"},
        ),
        (lambda c: register(c, external_identifier="mine"), INSTANCE),
        (register, {**INSTANCE, "id": "whatever", "external_identifier": "given"}),
        (lambda c: c.agent_spans.finish("s-1"), {**SPAN, "status": "archived"}),
    ],
)
async def test_a_response_that_does_not_contradict_the_call_is_accepted(
    raw_server, client, call, resource
):
    raw_server.script(success(resource))
    assert (await call(client)).id == resource["id"]
    assert len(raw_server.requests) == 1


async def test_a_list_with_items_outside_its_filter_is_a_contract_error(raw_server, client):
    def page(**fields):
        return reply(body={"status": "success", "summaries": [SPAN, {**SPAN, **fields}]})

    raw_server.script(page(agent_instance_id="i-2"), page())
    assert len(await client.agent_spans.list("i-1")) == 2
    raw_server.script(*[page(agent_id="a-2")] * 2)
    with pytest.raises(PrefactorResponseContractError, match=r"agent_id 'a-2'.*'a-1'"):
        await client.agent_spans.list(agent_id="a-1")


async def test_without_retries_a_contradiction_raises_immediately(raw_server, client):
    raw_server.script(success({**INSTANCE, "id": "i-2"}))
    with pytest.raises(PrefactorResponseContractError) as caught:
        await client.with_options(max_retries=0).agent_instances.start("i-1", idempotency_key="k")
    assert (caught.value.attempts, caught.value.idempotency_key) == (1, "k")
    assert caught.value.outcome_unknown


async def test_a_contradiction_does_not_hide_a_later_failure(raw_server, client):
    raw_server.script(success({**INSTANCE, "id": "i-2"}), *[reply(503)] * 3)
    with pytest.raises(PrefactorRetryExhaustedError) as caught:
        await client.agent_instances.start("i-1")
    assert caught.value.last_error.status_code == 503
    assert caught.value.outcome_unknown


LATE = {**INSTANCE, "external_identifier": None}


@pytest.mark.parametrize("names", [{}, {"external_identifier": "mine"}])
async def test_a_late_duplicate_of_an_earlier_response_is_not_accepted(raw_server, client, names):
    right = {**INSTANCE, "id": "i-2", **names}
    raw_server.script(success(LATE), success(LATE), success(right), success(right))
    assert (await register(client)).id == "i-1"
    assert (await register(client, **names)).id == "i-2"
    _, first, second = raw_server.requests
    assert first.body == second.body
    key = second.json["idempotency_key"]
    assert (await register(client, idempotency_key=key, **names)).id == "i-2"
    assert len(raw_server.requests) == 4


async def test_a_late_response_to_a_call_that_was_interrupted_is_not_accepted(raw_server, client):
    arrived, unanswered = asyncio.Event(), asyncio.Event()
    replies = [success(LATE), success({**INSTANCE, "id": "i-2"})]

    async def answer(request):
        if request.target.endswith("/finish"):
            arrived.set()
            await unanswered.wait()
        return replies.pop(0)

    raw_server.answer = answer
    finish = asyncio.create_task(client.agent_instances.finish("i-1"))
    await arrived.wait()
    finish.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finish
    assert (await register(client)).id == "i-2"
    assert replies == []


async def test_a_late_duplicate_of_a_span_is_not_accepted(raw_server, client):
    raw_server.script(success(SPAN), success(SPAN), success({**SPAN, "id": "s-2"}))
    spans = [await client.agent_spans.create("i-1", "step", "active") for _ in range(2)]
    assert [span.id for span in spans] == ["s-1", "s-2"]


async def test_a_server_that_always_returns_one_resource_is_accepted_after_some_calls(
    raw_server, client
):
    raw_server.script(*[success(INSTANCE)] * 20)
    for _ in range(10):
        assert (await register(client)).id == "i-1"
    assert len(raw_server.requests) == 10 + 3


@pytest.mark.parametrize("names", [{}, {"external_identifier": "mine"}])
async def test_without_retries_a_suspect_response_is_confirmed(raw_server, client, names):
    once = client.with_options(max_retries=0)
    right = {**INSTANCE, "id": "i-2", **names}
    raw_server.script(success(LATE), success(LATE), success(right))
    assert [(await register(once, **names)).id for _ in range(2)] == ["i-1", "i-2"]
    _, first, second = raw_server.requests
    assert first.body == second.body


@pytest.mark.parametrize("failure", [b"", reply(503)])
async def test_a_confirmation_that_fails_is_repeated_on_a_new_connection(
    raw_server, client, failure
):
    raw_server.script(success(LATE), success(LATE), failure, success({**INSTANCE, "id": "i-2"}))
    await register(client)
    assert (await register(client)).id == "i-2"
    first, suspect, *confirmations = [request.connection for request in raw_server.requests]
    assert first == suspect
    assert len({suspect, *confirmations}) == 3


async def test_without_retries_a_confirmation_that_fails_is_not_repeated(raw_server, client):
    raw_server.script(success(LATE), success(LATE), reply(503), success(INSTANCE))
    once = client.with_options(max_retries=0)
    await register(once)
    with pytest.raises(PrefactorApiError) as caught:
        await register(once)
    assert (caught.value.status_code, caught.value.attempts) == (503, 2)
    assert caught.value.outcome_unknown


def test_a_resource_keeps_the_key_of_its_first_call():
    seen = SeenResources(capacity=6)  # three ids fill its first half
    for number in range(3):
        assert seen.add(f"i-{number}", f"key-{number}")
    for number in range(3):
        assert not seen.add(f"i-{number}", "other")
        assert seen.is_suspect(f"i-{number}", "other")
        assert seen.add(f"i-{number}", f"key-{number}")


def test_the_oldest_resources_are_dropped_first():
    seen = SeenResources(capacity=4)
    for number in (0, 1, 1, 2):
        seen.add(f"i-{number}", f"key-{number}")
    assert [seen.is_suspect(f"i-{n}", "other") for n in range(3)] == [False, True, True]
    assert not seen.is_suspect("i-2", "key-2")


def test_the_oldest_open_span_is_dropped_first():
    instances = SpanInstances(capacity=2)
    for number in range(3):
        instances.remember(f"s-{number}", "i-1")
    assert [instances.get(f"s-{n}") for n in range(3)] == [None, "i-1", "i-1"]


REFUSAL = reply(409, {"status": "error", "code": "invalid_action", "message": "not now"})


async def test_an_error_after_a_response_to_another_call_is_confirmed(raw_server, client):
    right = {**INSTANCE, "id": "i-2"}
    raw_server.script(success(INSTANCE), success(right))
    await client.agent_instances.start("i-2")
    raw_server.script(REFUSAL, success(right))
    assert (await client.agent_instances.finish("i-2")).id == "i-2"
    raw_server.script(REFUSAL, REFUSAL, success({**right, "finished_at": MOMENT}))
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.finish("i-2")
    assert (caught.value.attempts, caught.value.outcome_unknown) == (2, False)


@pytest.mark.parametrize("status", [401, 403, 405, 413, 429])
async def test_any_error_after_a_response_to_another_call_is_confirmed(raw_server, client, status):
    right = {**INSTANCE, "id": "i-2"}
    error = reply(status, {"status": "error", "code": "x", "message": "x"})
    raw_server.script(success(INSTANCE), success(right), error, success(right))
    await client.agent_instances.start("i-2")
    once = client.with_options(retry_on_status_codes=frozenset())
    assert (await once.agent_instances.finish("i-2")).id == "i-2"


async def test_a_create_after_a_response_to_another_call_is_confirmed(raw_server, client):
    raw_server.script(success(INSTANCE), success({**INSTANCE, "id": "i-2"}))
    await client.agent_instances.start("i-2")
    raw_server.script(success({**LATE, "id": "i-3"}), success({**LATE, "id": "i-4"}))
    assert (await register(client)).id == "i-4"
    # Its call had the key of another one until now.
    raw_server.script(*[success({**LATE, "id": "i-3"})] * 2)
    assert (await register(client)).id == "i-3"
    assert len(raw_server.requests) == 6


@pytest.mark.parametrize("key", ["key-0002", "key-0001"])
async def test_an_error_after_a_bulk_response_to_another_request_is_confirmed(
    raw_server, client, key
):
    def bulk(key, id):
        outputs = {key: {"status": "success", "details": {**LATE, "id": id}}}
        return reply(body={"status": "success", "outputs": outputs})

    row = {"idempotency_key": "key-0001"} | ({"id": "i-1"} if key == "key-0001" else {})
    raw_server.script(bulk(key, "i-9"), bulk("key-0001", "i-1"))
    names = ("agent_version", "agent_schema_version")
    versions = dict(zip(names, VERSIONS, strict=True))
    rows = client.agent_instances.register_many([row], **versions)
    assert [outcome.ok async for outcome in rows] == [True]
    raw_server.script(REFUSAL, success({**INSTANCE, "id": "i-2"}))
    assert (await client.agent_instances.finish("i-2")).id == "i-2"


async def test_an_error_that_cannot_be_confirmed_has_an_unknown_outcome(raw_server, client):
    raw_server.script(success(INSTANCE), success({**INSTANCE, "id": "i-2"}), REFUSAL)
    await client.agent_instances.start("i-2")
    with pytest.raises(PrefactorConflictError) as caught:
        await client.with_options(max_retries=0).agent_instances.finish("i-2")
    assert caught.value.outcome_unknown


async def test_a_suspect_response_to_the_last_attempt_is_confirmed(raw_server, client):
    raw_server.script(success(INSTANCE))
    await client.agent_instances.start("i-1")
    raw_server.script(reply(503), success(INSTANCE), success({**INSTANCE, "id": "i-2"}))
    retries = []
    impatient = client.with_options(max_retries=1, on_retry=retries.append)
    assert (await register(impatient)).id == "i-2"
    assert [(retry.number, retry.max_retries) for retry in retries] == [(1, 1), (2, 2)]


async def test_a_suspect_response_after_a_contradiction_is_not_a_success(raw_server, client):
    raw_server.script(success(INSTANCE))
    await client.agent_instances.start("i-1")
    late = {**LATE, "external_identifier": "yours"}
    raw_server.script(success(late), success(LATE), success({**INSTANCE, "id": "i-2"}))
    with pytest.raises(PrefactorResponseContractError) as caught:
        await register(client, external_identifier="mine")
    assert (caught.value.attempts, caught.value.outcome_unknown) == (2, True)
