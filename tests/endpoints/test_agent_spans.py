"""Spans: timestamps, control signal, finishes after a lost response, and lists."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from raw_server import reply

from prefactor_http import PrefactorConflictError, PrefactorResponseContractError
from prefactor_http.testing import Fault, FaultKind, IdempotencyPolicy

SPAN = {
    "type": "agent_span",
    "id": "s-1",
    "agent_instance_id": "i-1",
    "schema_name": "agent:llm",
    "status": "active",
}
THEN = datetime(2024, 5, 1, 12, tzinfo=UTC)
LATER = THEN + timedelta(minutes=1)
NAIVE = datetime(2024, 5, 1, 12)  # noqa: DTZ001 # the refused value
INVALID_ACTION = reply(409, {"status": "error", "code": "invalid_action", "message": "not now"})


def answer_with_a_span(raw_server, status="active", **siblings):
    details = {**SPAN, "status": status}
    raw_server.script(reply(body={"status": "success", "details": details, **siblings}))


async def details_sent(raw_server, raw_client, *args, **kwargs):
    answer_with_a_span(raw_server)
    await raw_client.agent_spans.create("i-1", "agent:llm", *args, **kwargs)
    return raw_server.request.json["details"]


async def test_an_omitted_payload_is_sent_as_an_empty_object(raw_server, raw_client):
    sent = await details_sent(raw_server, raw_client, "pending")
    assert sent == {
        "agent_instance_id": "i-1",
        "schema_name": "agent:llm",
        "status": "pending",
        "payload": {},
    }


async def test_the_key_is_sent_beside_the_details(raw_server, raw_client):
    answer_with_a_span(raw_server)
    await raw_client.agent_spans.create("i-1", "agent:llm", "pending", idempotency_key="k")
    assert raw_server.request.json["idempotency_key"] == "k"
    assert "idempotency_key" not in raw_server.request.json["details"]


def is_now(text):
    return abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(seconds=30)


@pytest.mark.parametrize("status", ["active", "complete", "failed"])
async def test_a_started_span_has_the_time_of_the_call_by_default(raw_server, raw_client, status):
    sent = await details_sent(raw_server, raw_client, status)
    assert is_now(sent["started_at"])
    assert sent["started_at"].endswith("Z")
    assert sent.get("finished_at") == (None if status == "active" else sent["started_at"])


@pytest.mark.parametrize("status", ["pending", "cancelled"])
async def test_a_pending_or_cancelled_span_has_no_default_timestamps(
    raw_server, raw_client, status
):
    sent = await details_sent(raw_server, raw_client, status)
    assert not {"started_at", "finished_at"} & sent.keys()


async def test_timestamps_are_sent_in_utc(raw_server, raw_client):
    zone = timezone(timedelta(hours=2))
    sent = await details_sent(
        raw_server,
        raw_client,
        "cancelled",
        started_at=THEN.astimezone(zone),
        finished_at=LATER.astimezone(zone),
    )
    assert sent["started_at"] == "2024-05-01T12:00:00Z"
    assert sent["finished_at"] == "2024-05-01T12:01:00Z"


async def test_the_default_start_is_not_after_the_given_finish(raw_server, raw_client):
    sent = await details_sent(raw_server, raw_client, "complete", finished_at=THEN)
    assert sent["started_at"] == sent["finished_at"] == "2024-05-01T12:00:00Z"


async def test_the_default_finish_is_not_before_the_given_start(raw_server, raw_client):
    to_come = datetime.now(UTC) + timedelta(hours=1)
    sent = await details_sent(raw_server, raw_client, "failed", started_at=to_come)
    assert sent["started_at"] == sent["finished_at"]


async def test_a_finish_has_the_time_of_the_call_by_default(raw_server, raw_client):
    answer_with_a_span(raw_server, status="complete")
    await raw_client.agent_spans.finish("s-1")
    sent = raw_server.request.json
    assert is_now(sent["timestamp"])
    assert sent.keys() == {"timestamp", "idempotency_key"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"status": "terminated"}, ValueError, "status must be one of pending, active, complete"),
        ({"status": None}, TypeError, "status must be a str"),
        ({"agent_instance_id": ""}, ValueError, "agent_instance_id must not be blank"),
        ({"schema_name": " "}, ValueError, "schema_name must not be blank"),
        ({"id": ""}, ValueError, "id must not be blank"),
        ({"parent_span_id": ""}, ValueError, "parent_span_id must not be blank"),
        ({"payload": [1]}, TypeError, "payload must be a dict or None, not list"),
        ({"payload": []}, TypeError, "payload must be a dict or None, not list"),
        ({"result_payload": "x"}, TypeError, "result_payload must be a dict or None, not str"),
        ({"started_at": NAIVE}, ValueError, "started_at has no time zone"),
        ({"finished_at": NAIVE}, ValueError, "finished_at has no time zone"),
        ({"started_at": "2024"}, TypeError, "started_at must be a datetime, not str"),
        ({"idempotency_key": "x" * 65}, ValueError, "idempotency_key must have 1 to 64"),
        ({"payload": {"x": object}}, TypeError, "cannot encode the request as JSON"),
    ],
    ids=str,
)
async def test_a_span_with_invalid_arguments_is_not_sent(
    raw_server, raw_client, arguments, error, message
):
    span = {"agent_instance_id": "i-1", "schema_name": "agent:llm", "status": "active"}
    with pytest.raises(error, match=message):
        await raw_client.agent_spans.create(**{**span, **arguments})
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"status": "active"}, ValueError, "status must be one of complete, failed, cancelled"),
        ({"timestamp": NAIVE}, ValueError, "timestamp has no time zone"),
        ({"result_payload": 1}, TypeError, "result_payload must be a dict or None, not int"),
        ({"idempotency_key": ""}, ValueError, "idempotency_key must have 1 to 64"),
        ({"agent_span_id": ""}, ValueError, "'' is not an id"),
    ],
    ids=str,
)
async def test_a_finish_with_invalid_arguments_is_not_sent(
    raw_server, raw_client, arguments, error, message
):
    with pytest.raises(error, match=message):
        await raw_client.agent_spans.finish(**{"agent_span_id": "s-1", **arguments})
    assert raw_server.requests == []


@pytest.mark.parametrize(
    ("control", "heard"),
    [
        ({"terminate": True, "reason": "enough"}, ["enough"]),
        ({"terminate": True, "reason": None}, [None]),
        ({"terminate": True}, [None]),
        ({"terminate": False, "reason": "no"}, []),
        (None, []),
    ],
)
async def test_the_callback_is_called_only_for_a_termination(
    raw_server, raw_client, control, heard
):
    reasons = []
    answer_with_a_span(raw_server, control=control)
    answer_with_a_span(raw_server, "complete", control=control)
    spans = raw_client.agent_spans
    await spans.create("i-1", "agent:llm", "active", control_signal_callback=reasons.append)
    await spans.finish("s-1", control_signal_callback=reasons.append)
    assert reasons == heard * 2


async def test_a_control_signal_without_a_callback_is_ignored(raw_server, raw_client):
    answer_with_a_span(raw_server, "complete", control={"terminate": True})
    assert (await raw_client.agent_spans.finish("s-1")).id == "s-1"


async def test_spans_of_a_terminated_instance_are_recorded_and_carry_the_control_signal(
    client, instance
):
    reasons = []
    span = await client.agent_spans.create(instance.id, "agent:llm", "active")
    await client.agent_instances.terminate(instance.id, "out of bounds")
    await client.agent_spans.finish(span.id, control_signal_callback=reasons.append)
    await client.agent_spans.create(
        instance.id, "agent:llm", "complete", control_signal_callback=reasons.append
    )
    assert reasons == ["out of bounds", "out of bounds"]


@pytest.mark.parametrize("status", [None, "complete", "failed"])
async def test_a_refused_finish_succeeds_if_a_lost_attempt_was_applied(
    raw_server, raw_client, status
):
    ended = {**SPAN, "status": status or "complete"}
    raw_server.script(b"", INVALID_ACTION, reply(body={"status": "success", "details": ended}))
    assert (await raw_client.agent_spans.finish("s-1", status)).status == ended["status"]
    assert [r.method for r in raw_server.requests] == ["POST", "POST", "GET"]
    assert raw_server.requests[-1].target == "/api/v1/agent_spans/s-1"


@pytest.mark.parametrize("policy", [IdempotencyPolicy(forget_when_lost={"agent_spans.finish"})])
async def test_a_finish_is_reconciled_although_the_api_forgot_its_key(api, client, instance):
    span = await client.agent_spans.create(instance.id, "agent:llm", "active")
    api.fail_next(Fault(FaultKind.APPLIED_THEN_RESET))
    ended = await client.agent_spans.finish(span.id, "failed", {"why": "broken"})
    assert (ended.status, ended.result_payload) == ("failed", {"why": "broken"})
    assert [r.method for r in api.requests[-3:]] == ["POST", "POST", "GET"]


async def test_a_finish_that_was_not_applied_is_a_conflict_with_known_outcome(
    raw_server, raw_client
):
    ended = {**SPAN, "status": "failed"}
    raw_server.script(b"", INVALID_ACTION, reply(body={"status": "success", "details": ended}))
    with pytest.raises(PrefactorConflictError) as caught:
        await raw_client.agent_spans.finish("s-1")
    assert not caught.value.outcome_unknown


async def test_the_outcome_stays_unknown_if_the_span_cannot_be_read(raw_server, raw_client):
    raw_server.script(b"", INVALID_ACTION, reply(404, {"status": "error", "code": "not_found"}))
    with pytest.raises(PrefactorConflictError) as caught:
        await raw_client.agent_spans.finish("s-1")
    assert caught.value.outcome_unknown


async def test_a_refused_finish_is_a_conflict(client, instance):
    span = await client.agent_spans.create(instance.id, "agent:llm", "pending")
    with pytest.raises(PrefactorConflictError):
        await client.agent_spans.finish(span.id, "complete")
    assert (await client.agent_spans.finish(span.id, "cancelled")).status == "cancelled"


async def test_a_response_without_a_span_breaks_the_contract(raw_server, raw_client):
    raw_server.script(reply(body={"status": "success", "control": {"terminate": True}}))
    with pytest.raises(PrefactorResponseContractError, match="details"):
        await raw_client.agent_spans.create("i-1", "agent:llm", "active")


async def test_iterating_a_list_reads_all_pages(api, client, instance):
    created = [
        await client.agent_spans.create(instance.id, "agent:llm", "active", {"number": number})
        for number in range(5)
    ]
    page = await client.agent_spans.list(instance.id, page_size=2)
    assert len(page) == 2
    assert [span.payload["number"] async for span in page] == [0, 1, 2, 3, 4]
    of_agent = await client.agent_spans.list(agent_id=api.agent_id, sorting="-id")
    assert [span.id for span in of_agent] == [span.id for span in reversed(created)]


async def test_a_list_can_be_filtered_by_time_and_include_more_fields(client, instance):
    for minutes in range(3):
        started = THEN + timedelta(minutes=minutes)
        await client.agent_spans.create(instance.id, "agent:llm", "active", started_at=started)
    spans = await client.agent_spans.list(
        instance.id, start_time=LATER, end_time=LATER, include_summaries=True
    )
    assert [span.started_at for span in spans] == [LATER]
    assert spans[0].summary == "agent:llm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "agent_spans.list needs agent_instance_id or agent_id"),
        ({"agent_id": "a", "start_time": NAIVE}, "start_time has no time zone"),
        ({"agent_id": "a", "end_time": NAIVE}, "end_time has no time zone"),
        ({"agent_id": "a", "page_size": 101}, "page_size must be from 1 to 100"),
    ],
    ids=str,
)
async def test_a_list_with_invalid_arguments_is_not_requested(
    raw_server, raw_client, arguments, message
):
    with pytest.raises(ValueError, match=message):
        await raw_client.agent_spans.list(**arguments)
    assert raw_server.requests == []


@pytest.mark.parametrize("fault", [FaultKind.APPLIED_THEN_RESET, FaultKind.APPLIED_THEN_500])
async def test_each_span_is_applied_once_although_responses_are_lost(api, client, instance, fault):
    for number in range(10):
        api.fail_next(fault)
        span = await client.agent_spans.create(instance.id, "agent:llm", "active", {"n": number})
        api.fail_next(fault, fault)
        await client.agent_spans.finish(span.id)
    spans = await client.agent_spans.list(instance.id)
    assert [span.payload["n"] for span in spans] == list(range(10))
    assert {span.status for span in spans} == {"complete"}
    assert api.doubled == api.lost == []
