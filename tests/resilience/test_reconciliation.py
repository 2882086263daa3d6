"""An API error that an earlier attempt of the same write may have caused is verified by a read."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import msgspec
import pytest
from raw_server import reply

from prefactor_http import (
    AgentInstance,
    HttpClientConfig,
    PrefactorConflictError,
    PrefactorHttpClient,
    PrefactorValidationError,
)
from prefactor_http._http.operation import Applied
from prefactor_http._http.reconciliation import was_started
from prefactor_http.exceptions import is_permanent_http_error
from prefactor_http.testing import Fault, FaultKind, IdempotencyPolicy, LocalPrefactor

ACTIONS = ("agent_instances.start", "agent_instances.finish", "agent_instances.terminate")


@pytest.fixture
async def api():
    """A server that forgets the keys of writes whose responses are lost."""
    async with LocalPrefactor(policy=IdempotencyPolicy(forget_when_lost=frozenset(ACTIONS))) as api:
        yield api


@pytest.fixture
async def client(api, client_for):
    return await client_for(api)


async def test_a_start_whose_response_was_lost_returns_the_instance(api, client, register):
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    started = await client.agent_instances.start(instance.id)
    assert started.status == "active"
    assert [r.method for r in api.requests[-3:]] == ["POST", "POST", "GET"]


@pytest.mark.parametrize("status", [None, "complete", "failed"])
async def test_a_finish_whose_response_was_lost_returns_the_instance(api, client, register, status):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    finished = await client.agent_instances.finish(instance.id, status)
    assert finished.status == (status or "complete")


async def test_a_cancelling_finish_whose_response_was_lost_returns_the_instance(
    api, client, register
):
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_500))
    assert (await client.agent_instances.finish(instance.id, "cancelled")).status == "cancelled"


async def test_a_terminate_whose_response_was_lost_returns_the_instance(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    ended = await client.agent_instances.terminate(instance.id, "out of bounds")
    assert ended.status == "terminated"
    assert ended.termination_reason == "out of bounds"


async def test_a_finish_that_was_not_applied_raises_with_a_known_outcome(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    await client.agent_instances.terminate(instance.id, "stop")
    api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.finish(instance.id)
    assert not caught.value.outcome_unknown
    assert caught.value.attempts == 2


async def test_a_start_by_another_caller_is_not_reported_as_success(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    await client.agent_instances.terminate(instance.id, "stop")
    api.fail_next(Fault(FaultKind.INTERNAL_ERROR))
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.start(instance.id)
    assert not caught.value.outcome_unknown


async def test_a_409_after_known_outcomes_raises_without_a_read(api, client, register):
    instance = await register(client)
    await client.agent_instances.start(instance.id)
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=0))
    with pytest.raises(PrefactorConflictError):
        await client.agent_instances.start(instance.id)
    assert "GET" not in [request.method for request in api.requests]


async def test_a_409_that_cannot_be_verified_has_an_unknown_outcome(
    api, client_for, register, caplog
):
    client = await client_for(api, max_retries=1)
    instance = await register(client)
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    api.fail_next(*[Fault(FaultKind.UNAVAILABLE)] * 2, method="GET")
    with pytest.raises(PrefactorConflictError) as caught:
        await client.agent_instances.start(instance.id)
    assert caught.value.outcome_unknown
    assert "could not verify the outcome" in caplog.text


# Over raw bytes: the response to the first attempt is lost, the second attempt is refused.

MOMENT = datetime(2026, 5, 1, 12, 0, 0, 123556, UTC)
CONFLICT = reply(409, {"status": "error", "code": "invalid_action", "message": "not now"})
INSTANCE = {
    "type": "agent_instance",
    "id": "i-1",
    "account_id": "acc-1",
    "agent_id": "a-1",
    "agent_version_id": "v-1",
    "environment_id": "e-1",
    "inserted_at": "2026-05-01T11:59:00Z",
    "updated_at": "2026-05-01T12:00:00Z",
}
SPAN = {"type": "agent_span", "id": "s-1", "agent_instance_id": "i-1", "schema_name": "step"}
VERSIONS = ({"external_identifier": "v1"}, {"external_identifier": "s1", "span_type_schemas": []})
LONG = "over budget, " * 30


def start(client):
    return client.agent_instances.start("i-1", MOMENT)


def finish(client, status=None):
    return client.agent_instances.finish("i-1", status, MOMENT)


def terminate(reason):
    return lambda client: client.agent_instances.terminate("i-1", reason)


def finish_span(result=None, **more):
    return lambda client: client.agent_spans.finish("s-1", None, result, MOMENT, **more)


def instance(status, **fields):
    return {**INSTANCE, "status": status, **fields}


def span(status="complete", **fields):
    return {**SPAN, "status": status, "finished_at": "2026-05-01T12:00:00.123556Z", **fields}


APPLIED = [
    (start, instance("active", started_at="2026-05-01T12:00:00.123556Z")),
    (start, instance("active", started_at="2026-05-01T12:00:00.123Z")),
    (start, instance("active", started_at="2026-05-01T14:00:00+02:00")),
    (start, instance("active", started_at="2026-05-01T12:00:00.124Z")),  # rounded
    (start, instance("complete", started_at="2026-05-01T12:00:00Z")),
    (start, instance("terminated", started_at="2026-05-01T12:00:00Z")),
    (start, instance("active")),
    (finish, instance("complete", finished_at="2026-05-01T12:00:00.123Z")),
    (finish, instance("complete")),
    (lambda c: finish(c, "cancelled"), instance("cancelled", finished_at="2026-05-01T12:00:00Z")),
    (terminate("over budget "), instance("terminated", termination_reason="over budget")),
    (terminate(LONG), instance("terminated", termination_reason=LONG[:255])),
    (terminate(LONG), instance("terminated", termination_reason=LONG[:255] + "...")),
    (terminate("wait..."), instance("terminated", termination_reason="wait...")),
    (terminate("why"), instance("terminated")),
    (finish_span({"a": [1, {"b": 2.0}]}), span(result_payload={"a": [1.0, {"b": 2}]})),
    (finish_span({"a": 1}), span()),
    (finish_span(), span(result_payload={"made by": "the API"})),
    (finish_span({"a": 1}, sensitive_encoding=True), span(result_payload={"a": "hidden"})),
    (finish_span(), span(finished_at=None)),
]
NOT_APPLIED = [
    (start, instance("cancelled")),
    (start, instance("active", started_at="2026-05-01T12:00:00.125Z")),
    (start, instance("active", started_at="2026-05-01T12:00:01Z")),
    (finish, instance("failed", finished_at="2026-05-01T12:00:00.123Z")),
    (finish, instance("complete", finished_at="2026-05-01T11:00:00Z")),
    (finish, instance("terminated")),
    (terminate("over budget"), instance("terminated", termination_reason="over")),
    (terminate("over budget"), instance("complete")),
    (finish_span({"a": True}), span(result_payload={"a": 1})),
    (finish_span({"a": [1]}), span(result_payload={"a": [1, 2]})),
    (finish_span({"a": 1}), span(result_payload={"a": 1, "b": 2})),
    (finish_span(), span(finished_at="2026-05-01T12:00:00.123557Z")),
    (finish_span(), span("failed")),
]
UNKNOWN = [
    (start, instance("pending")),
    (start, instance("paused")),
    (finish, instance("active")),
    (finish, instance("pending")),
    (finish, instance("archived")),
    (terminate("why"), instance("active")),
    (finish_span(), span("active")),
    (finish_span(), span("archived")),
    (start, instance("active", id="i-2")),
    (finish_span(), span(id="s-2")),
]


@pytest.fixture
async def raw_client(raw_server):
    config = HttpClientConfig(
        raw_server.url, "token-1234", initial_retry_delay=0.001, max_retry_delay=0.01
    )
    async with PrefactorHttpClient(config) as client:
        yield client


def success(resource):
    return reply(body={"status": "success", "details": resource})


@pytest.mark.parametrize(("call", "resource"), APPLIED)
async def test_a_resource_that_matches_the_write_is_a_success(
    raw_server, raw_client, call, resource
):
    raw_server.script(b"", CONFLICT, success(resource))
    assert (await call(raw_client)).status == resource["status"]
    assert [request.method for request in raw_server.requests] == ["POST", "POST", "GET"]


@pytest.mark.parametrize(("call", "resource"), NOT_APPLIED)
async def test_a_resource_changed_by_another_write_raises_the_api_error(
    raw_server, raw_client, call, resource
):
    raw_server.script(b"", CONFLICT, success(resource))
    with pytest.raises(PrefactorConflictError) as caught:
        await call(raw_client)
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(("call", "resource"), UNKNOWN)
async def test_an_inconclusive_read_leaves_the_outcome_unknown(
    raw_server, raw_client, call, resource
):
    raw_server.script(b"", CONFLICT, *[success(resource)] * 2)
    with pytest.raises(PrefactorConflictError) as caught:
        await call(raw_client)
    assert caught.value.outcome_unknown
    assert not is_permanent_http_error(caught.value)


# Creates with an id chosen by the caller.


def taken(status=422, **errors):
    errors = errors or {"id": ["has already been taken"]}
    return reply(status, {"status": "error", "code": "validation_errors", "errors": errors})


def register(client):
    return client.agent_instances.register("a-1", *VERSIONS, "i-1", external_identifier="mine")


def create_span(client):
    return client.agent_spans.create("i-1", "step", "active", id="s-1")


def create_agent(client):
    return client.agents.create({"name": "A", "id": "a-1"})


AGENT = {"type": "agent", "id": "a-1", "name": "A", "status": "pending"}
CREATES = [
    (register, instance("active", external_identifier="mine"), {"external_identifier": "yours"}),
    (create_span, span("active"), {"schema_name": "other"}),
    (create_agent, AGENT, {"name": "B"}),
]


@pytest.mark.parametrize(("call", "resource", "_"), CREATES)
@pytest.mark.parametrize(
    "refusal",
    [
        taken(),
        taken(409),
        taken(400),
        taken(details={"id": ["is taken"]}),
        taken(**{"details.id": ["is taken"]}),
    ],
)
async def test_a_taken_id_with_matching_fields_is_a_success(
    raw_server, raw_client, call, resource, _, refusal
):
    raw_server.script(b"", refusal, success(resource))
    assert (await call(raw_client)).id == resource["id"]


@pytest.mark.parametrize(("call", "resource", "difference"), CREATES)
async def test_a_taken_id_with_other_fields_raises_the_api_error(
    raw_server, raw_client, call, resource, difference
):
    raw_server.script(b"", taken(), success({**resource, **difference}))
    with pytest.raises(PrefactorValidationError) as caught:
        await call(raw_client)
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(("call", "resource", "_"), CREATES)
async def test_a_taken_id_without_a_lost_response_raises_the_api_error(
    raw_server, raw_client, call, resource, _
):
    raw_server.script(taken(), success(resource))
    with pytest.raises(PrefactorValidationError) as caught:
        await call(raw_client)
    assert not caught.value.outcome_unknown
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize(
    "errors", [{"external_identifier": ["has already been taken"]}, {"agent_version": ["is odd"]}]
)
async def test_a_taken_name_after_a_lost_response_has_an_unknown_outcome(
    raw_server, raw_client, errors
):
    raw_server.script(b"", taken(**errors))
    with pytest.raises(PrefactorValidationError) as caught:
        await register(raw_client)
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) == 2


# Spans that cannot be read by id are searched in the list of their instance.


def page(*spans, following=None):
    pagination = {
        "item_count": 3,
        "item_start": 1,
        "item_end": 1,
        "page_count": 2,
        "page_index": 1,
        "page_offset": 0,
        "page_size": 100,
        "next_page_offset": following,
    }
    return reply(body={"status": "success", "summaries": list(spans), "pagination": pagination})


NOT_FOUND = reply(404, {"status": "error", "code": "not_found", "message": "no such route"})


async def test_a_span_that_cannot_be_read_by_id_is_found_in_the_list_of_its_instance(
    raw_server, raw_client
):
    other = span(id="s-0")
    raw_server.script(b"", taken(), NOT_FOUND, page(other, following=100), page(span("active")))
    created = await create_span(raw_client)
    raw_server.script(b"", CONFLICT, NOT_FOUND, page(other, span()))
    ended = await raw_client.agent_spans.finish(created.id, timestamp=MOMENT)
    assert (created.id, created.status, ended.status) == ("s-1", "active", "complete")
    assert "agent_instance_id=i-1" in raw_server.requests[-1].target


@pytest.mark.parametrize(
    "pages",
    [
        [page(span(id="s-0"))],
        [page(following=100), page(following=100)],
        [reply(body={"status": "success", "summaries": []})],
    ],
)
async def test_a_span_that_is_not_listed_has_an_unknown_outcome(raw_server, raw_client, pages):
    raw_server.script(b"", taken(), NOT_FOUND, *pages)
    with pytest.raises(PrefactorValidationError) as caught:
        await create_span(raw_client)
    assert caught.value.outcome_unknown
    assert raw_server.replies == deque()


async def test_an_endless_list_of_spans_is_abandoned(raw_server, raw_client):
    pages = [page(span(id="s-0"), following=100 * n) for n in range(1, 40)]
    raw_server.script(b"", taken(), NOT_FOUND, *pages)
    with pytest.raises(PrefactorValidationError) as caught:
        await create_span(raw_client)
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) < 30


async def test_a_transient_read_error_does_not_list_the_spans(raw_server, raw_client):
    raw_server.script(b"", taken(), *[reply(503)] * 4)
    with pytest.raises(PrefactorValidationError) as caught:
        await create_span(raw_client)
    assert caught.value.outcome_unknown
    assert all("/agent_spans/s-1" in request.target for request in raw_server.requests[2:])


async def test_other_read_errors_do_not_list_the_spans(raw_server, raw_client):
    raw_server.script(b"", taken(), reply(418))
    with pytest.raises(PrefactorValidationError) as caught:
        await create_span(raw_client)
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) == 3


@pytest.mark.parametrize(
    ("timestamp", "started_at"),
    [
        ("soon", "2026-05-01T12:00:00Z"),
        ("2026-05-01T11:00:00", "2026-05-01T12:00:00Z"),
        ("2026-05-01T11:00:00Z", "2026-05-01T12:00:00"),
        (None, "2026-05-01T12:00:00Z"),
    ],
)
def test_a_timestamp_that_cannot_be_compared_does_not_count_as_different(timestamp, started_at):
    active = msgspec.convert(instance("active", started_at=started_at), AgentInstance)
    assert was_started({"timestamp": timestamp}, active) is Applied.YES


async def test_a_write_that_cannot_be_verified_keeps_its_unknown_outcome(raw_server):
    raw_server.script(b"", reply(422, b'{"status":"error","code":"validation_errors"}'))
    config = HttpClientConfig(raw_server.url, "token-1234", initial_retry_delay=0.001)
    async with PrefactorHttpClient(config) as client:
        with pytest.raises(PrefactorValidationError) as caught:
            await client.agents.update("agent-1", {"name": "Triage"})
    assert caught.value.outcome_unknown
    assert len(raw_server.requests) == 2  # the two attempts; nothing was read
