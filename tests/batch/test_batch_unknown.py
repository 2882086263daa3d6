"""Items that may have been applied are unknown, unless reading the resource verifies them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batch_support import (
    client_of,
    collect,
    collect_until_error,
    failure,
    in_order,
    instance_of,
    plain,
    register_rows,
    registered,
    rows,
    states,
    success,
)
from raw_server import Request, reply

from prefactor_http import BulkItem, PrefactorAuthError, PrefactorClientError
from prefactor_http.models import AgentInstance

MOMENT = "2026-06-01T08:00:00Z"
CUT = b""


def span_of(id: str, status: str = "active", **fields: Any) -> dict[str, Any]:
    own = {"agent_instance_id": "i-1", "schema_name": "llm", "payload": {}}
    return {"type": "agent_span", "id": id, "status": status, **own, **fields}


class KeyDroppingApi:
    """An API that drops every key, and whose first response to each bulk request is lost.

    Args:
        outputs: Outputs of the second response, by the item's call.
        resources: Responses to GET requests by path; a number is a status.
    """

    def __init__(self, outputs: dict[str, Any], resources: dict[str, Any] | None = None) -> None:
        self.outputs = outputs
        self.resources = resources or {}
        self.reads: list[str] = []
        self.lost = 0

    def __call__(self, request: Request) -> bytes:
        if request.method == "GET":
            self.reads.append(request.target.removeprefix("/api/v1/").partition("?")[0])
            found = self.resources[self.reads[-1]]
            if isinstance(found, int):
                return reply(found, failure("not_found"))
            return reply(200, found)
        if not self.lost:
            self.lost += 1
            return CUT
        return in_order(lambda item: self.outputs[item["_type"]])(request)


START = BulkItem(
    _type="agent_instances/start",
    idempotency_key="start-01",
    agent_instance_id="i-1",
    timestamp=MOMENT,
)
FINISH = BulkItem(
    _type="agent_instances/finish",
    idempotency_key="finish-1",
    agent_instance_id="i-1",
    timestamp=MOMENT,
    status="failed",
)
TERMINATE = BulkItem(
    _type="agent_instances/terminate",
    idempotency_key="end-0001",
    agent_instance_id="i-1",
    reason="enough",
)
SPAN_FINISH = BulkItem(
    _type="agent_spans/finish",
    idempotency_key="span-001",
    agent_span_id="s-1",
    timestamp=MOMENT,
)
REGISTER = BulkItem(
    _type="agent_instances/register",
    idempotency_key="reg-0001",
    id="i-1",
    agent_version={},
    external_identifier="a",
    agent_schema_version={},
)
SPAN_CREATE = BulkItem(
    _type="agent_spans/create",
    idempotency_key="make-001",
    details={"id": "s-1", "agent_instance_id": "i-1", "schema_name": "llm", "status": "active"},
)
AGENT = BulkItem(
    _type="agents/create",
    idempotency_key="agent-01",
    details={"id": "a-1", "name": "Bot"},
)
ID_TAKEN = failure("validation_errors", id=["has already been taken"])
INVALID = failure("invalid_action")
BOT = {
    "type": "agent",
    "id": "a-1",
    "name": "Bot",
    "status": "active",
    "inserted_at": MOMENT,
    "updated_at": MOMENT,
    "account_id": "x",
}
INSTANCE, SPAN = "agent_instance/i-1", "agent_spans/s-1"


@pytest.mark.parametrize(
    ("item", "refusal", "path", "resource", "state"),
    [
        (START, INVALID, INSTANCE, instance_of("i-1", "active", started_at=MOMENT), "ok"),
        (
            START,
            INVALID,
            INSTANCE,
            instance_of("i-1", "active", started_at="2026-06-01T07:00:00Z"),
            "failed",
        ),
        (START, INVALID, INSTANCE, instance_of("i-1", "cancelled"), "failed"),
        (START, INVALID, INSTANCE, instance_of("i-1", "pending"), "unknown"),
        (START, INVALID, INSTANCE, instance_of("i-1", "asleep"), "unknown"),
        (START, INVALID, INSTANCE, instance_of("other", "active"), "unknown"),
        (FINISH, INVALID, INSTANCE, instance_of("i-1", "failed", finished_at=MOMENT), "ok"),
        (FINISH, INVALID, INSTANCE, instance_of("i-1", "complete"), "failed"),
        (FINISH, INVALID, INSTANCE, 404, "unknown"),
        (
            TERMINATE,
            INVALID,
            INSTANCE,
            instance_of("i-1", "terminated", termination_reason="enough"),
            "ok",
        ),
        (
            TERMINATE,
            INVALID,
            INSTANCE,
            instance_of("i-1", "terminated", termination_reason="late"),
            "failed",
        ),
        (SPAN_FINISH, INVALID, SPAN, span_of("s-1", "complete", finished_at=MOMENT), "ok"),
        (SPAN_FINISH, INVALID, SPAN, span_of("s-1", "failed"), "failed"),
        (REGISTER, ID_TAKEN, INSTANCE, instance_of("i-1", external_identifier="a"), "ok"),
        (REGISTER, ID_TAKEN, INSTANCE, instance_of("i-1", external_identifier="b"), "failed"),
        (SPAN_CREATE, ID_TAKEN, SPAN, span_of("s-1"), "ok"),
        (SPAN_CREATE, ID_TAKEN, SPAN, span_of("s-1", schema_name="tool"), "failed"),
        (AGENT, ID_TAKEN, "agent/a-1", BOT, "ok"),
    ],
)
async def test_a_refusal_after_a_lost_response_is_verified_by_reading(
    raw_server, raw_client, item, refusal, path, resource, state
):
    found = resource if isinstance(resource, int) else success(resource)
    raw_server.answer = api = KeyDroppingApi({item.type: refusal}, {path: found})
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.state.value == state
    assert api.reads[0] == path
    assert outcome.idempotency_key == item.idempotency_key
    if state == "ok":
        assert outcome.error is None
        assert outcome.output.decode().id == resource["id"]
        assert isinstance(outcome.instance, AgentInstance) == (path == INSTANCE)
    else:
        assert outcome.error.outcome_unknown == (state == "unknown")
        assert outcome.error.attempts == 2
        assert outcome.error.idempotency_key == item.idempotency_key
        assert outcome.output.code == refusal["code"]


async def test_an_item_whose_id_is_not_text_leaves_the_outcome_unknown(raw_server, raw_client):
    odd = BulkItem(_type="agent_instances/start", idempotency_key="start-01", agent_instance_id=7)
    raw_server.answer = KeyDroppingApi({odd.type: INVALID})
    (outcome,) = await collect(raw_client.bulk.stream([odd]))
    assert outcome.unknown


async def test_a_refusal_without_a_lost_response_is_final(raw_server, raw_client):
    raw_server.answer = in_order(lambda _: INVALID)
    (outcome,) = await collect(raw_client.bulk.stream([START]))
    assert outcome.failed
    assert not outcome.error.outcome_unknown
    assert [request.method for request in raw_server.requests] == ["POST"]


@pytest.mark.parametrize(
    ("kind", "refusal", "state"),
    [
        ("agent_instances/register", failure("validation_errors", purpose=["odd"]), "failed"),
        (
            "agent_instances/register",
            failure("validation_errors", external_identifier=["taken"]),
            "unknown",
        ),
        (
            "agent_spans/create",
            failure("validation_errors", details={"external_identifier": ["x"]}),
            "unknown",
        ),
        ("agents/create", failure("validation_errors", **{"details.id": ["taken"]}), "unknown"),
        ("agent_instances/register", failure("invalid_action"), "unknown"),
        ("agent_instances/register", failure("idempotency_conflict"), "failed"),
        ("agent_instances/register", failure("not_found"), "failed"),
        ("agents/delete", failure("not_found"), "unknown"),
        ("some/thing", failure("brand_new"), "failed"),
    ],
)
async def test_only_a_refusal_that_an_own_success_can_cause_leaves_the_outcome_unknown(
    raw_server, raw_client, kind, refusal, state
):
    item = BulkItem(_type=kind, idempotency_key="key-0001", agent_id="a")
    raw_server.answer = KeyDroppingApi({kind: refusal})
    (outcome,) = await collect(raw_client.bulk.stream([item]))
    assert outcome.state.value == state
    assert outcome.error.outcome_unknown == (state == "unknown")


async def test_the_refusal_of_a_whole_request_says_nothing_about_an_earlier_request(
    raw_server, raw_client
):
    raw_server.script(CUT, reply(422, failure("validation_errors", purpose=["odd"])))
    (outcome,) = await collect(raw_client.bulk.stream([plain("key-0001")]))
    assert outcome.unknown
    assert outcome.error.status_code == 422
    assert outcome.error.outcome_unknown


async def test_the_refusal_of_a_whole_request_is_verified_like_an_items_error(
    raw_server, raw_client
):
    raw_server.script(CUT, reply(409, failure("invalid_action")))
    raw_server.answer = lambda _: reply(200, success(instance_of("i-1", "active")))
    (outcome,) = await collect(raw_client.bulk.stream([START]))
    assert outcome.ok
    raw_server.script(CUT, reply(413, failure("payload_too_large")))
    (outcome,) = await collect(raw_client.bulk.stream([plain("key-0001")]))
    assert outcome.unknown


async def test_items_of_a_group_wait_for_a_verification(raw_server, raw_client):
    done = {"start": INVALID, "finish": success(instance_of("i-1", "failed"))}
    raw_server.answer = KeyDroppingApi(
        {f"agent_instances/{action}": output for action, output in done.items()},
        {INSTANCE: success(instance_of("i-1", "active", started_at=MOMENT))},
    )
    stream = raw_client.bulk.stream(
        [START, FINISH], group="agent_instance_id", ordered=True, chunk_size=2
    )
    outcomes = await collect(stream)
    assert [outcome.state.value for outcome in outcomes] == ["ok", "ok"]
    methods = [request.method for request in raw_server.requests]
    assert methods == ["POST", "POST", "GET", "POST"]


async def test_items_behind_one_that_was_certainly_not_applied_are_blocked(raw_server, raw_client):
    refusal = failure("validation_errors", purpose=["odd"])
    raw_server.answer = KeyDroppingApi({"some/thing": refusal})
    items = [plain("key-0001"), plain("key-0002")]
    stream = raw_client.bulk.stream(items, group=lambda _: 1, ordered=True)
    outcomes = await collect(stream)
    # Both were in the request whose response was lost. The API stopped at the first one there, too.
    assert [outcome.state.value for outcome in outcomes] == ["failed", "blocked"]
    assert not outcomes[1].error.outcome_unknown


async def test_items_behind_one_that_may_have_been_applied_are_unknown(raw_server, raw_client):
    taken = failure("validation_errors", external_identifier=["has already been taken"])
    raw_server.answer = KeyDroppingApi({"some/thing": taken})
    items = [plain("key-0001"), plain("key-0002"), plain("key-0003")]
    stream = raw_client.bulk.stream(items, group=lambda _: 1, ordered=True, chunk_size=2)
    outcomes = await collect(stream)
    assert [outcome.state.value for outcome in outcomes] == ["unknown", "unknown", "blocked"]
    assert outcomes[1].error.outcome_unknown
    assert "an earlier item of its group" in str(outcomes[1].error)
    assert outcomes[1].error.idempotency_key == "key-0002"


async def test_at_the_end_of_a_run_sent_items_are_unknown_and_the_others_failed(
    raw_server, raw_client
):
    raw_server.script(CUT, CUT, *[reply(401, failure("bad_authtoken"))] * 9)
    stream = register_rows(raw_client, rows(30), chunk_size=5, concurrency=2)
    outcomes, error = await collect_until_error(stream, PrefactorAuthError)
    assert error.status_code == 401
    sent = {o.index for o in outcomes if o.unknown}
    assert sent == set(range(10))
    for outcome in outcomes:
        assert outcome.failed or outcome.unknown
        assert outcome.error.idempotency_key == outcome.idempotency_key
        assert outcome.error.outcome_unknown == outcome.unknown
        kind = PrefactorAuthError if outcome.unknown else PrefactorClientError
        assert isinstance(outcome.error, kind)


async def test_an_item_that_is_being_verified_when_the_run_ends_has_an_outcome(raw_server):
    reading, ended = asyncio.Event(), asyncio.Event()

    async def answer(request):
        if request.method == "GET":
            reading.set()
            await ended.wait()
            return reply(200, success(instance_of("i-1", "active", started_at=MOMENT)))
        if b"start-01" not in request.body:
            asyncio.get_running_loop().call_later(0.05, ended.set)
            return reply(401, failure("bad_authtoken"))
        lost = len(raw_server.requests) == 1
        return CUT if lost else in_order(lambda _: INVALID)(request)

    async def source():
        yield START
        await reading.wait()
        for item in (FINISH, plain("key-0001"), plain("key-0002")):
            yield item

    raw_server.answer = answer
    async with client_of(raw_server) as client:
        stream = client.bulk.stream(
            source(), group=lambda i: vars(i).get("agent_instance_id"), chunk_size=1
        )
        outcomes, _ = await collect_until_error(stream, PrefactorAuthError)
    by_key = {o.idempotency_key: o.state.value for o in outcomes}
    assert len(by_key) == len(outcomes)
    assert by_key["start-01"] == "ok"
    assert by_key["finish-1"] == "failed"
    assert by_key["key-0001"] == "failed"


async def test_an_item_without_output_stays_unknown(raw_server, raw_client):
    empty = reply(200, {"status": "success", "outputs": {}})
    refused = in_order(lambda _: failure("validation_errors", external_identifier=["taken"]))
    raw_server.script(empty)
    raw_server.answer = refused
    (outcome,) = await collect(raw_client.bulk.stream([plain("key-0001")]))
    assert outcome.unknown


async def test_items_not_attempted_are_distinguished_from_items_without_output(
    raw_server, raw_client
):
    stopped = {"key-0002": failure("bad_request")}
    raw_server.script(reply(200, {"status": "success", "outputs": stopped}))
    raw_server.answer = in_order(lambda _: failure("validation_errors", id=["taken"]))
    items = [plain(f"key-{number:04}") for number in (1, 2, 3)]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    # The first one must have been attempted; the third one was not.
    assert [outcome.state.value for outcome in outcomes] == ["unknown", "failed", "failed"]


async def test_an_output_under_an_unknown_key_can_belong_to_any_item(raw_server, raw_client):
    outputs = {"key-0001": failure("bad_request"), "unknown-key": success({})}
    raw_server.script(reply(200, {"status": "success", "outputs": outputs}))
    raw_server.answer = in_order(lambda _: failure("validation_errors", id=["taken"]))
    items = [plain("key-0001"), plain("key-0002")]
    outcomes = await collect(raw_client.bulk.stream(items, ordered=True))
    assert [outcome.state.value for outcome in outcomes] == ["failed", "unknown"]


@pytest.mark.parametrize("output", [{"status": "success"}, {"status": "odd"}, {}])
async def test_an_output_that_cannot_be_decoded_is_unknown(raw_server, raw_client, output):
    raw_server.script(reply(200, {"status": "success", "outputs": {"start-01": output}}))
    (outcome,) = await collect(raw_client.bulk.stream([START]))
    assert outcome.unknown
    assert outcome.error.outcome_unknown
    assert outcome.error.idempotency_key == "start-01"
    assert outcome.error.path == "/api/v1/bulk"


async def test_malformed_responses_of_one_item_affect_no_other_when_others_succeed(
    raw_server, raw_client
):
    fine = in_order(registered)

    def answer(request):
        return reply(200, [1]) if b'"row-33"' in request.body else fine(request)

    raw_server.answer = answer
    outcomes = await collect(register_rows(raw_client, rows(400), chunk_size=20))
    assert {o.index for o in outcomes if o.unknown} == {33}
    assert states(outcomes) == {"ok": 399, "unknown": 1}


async def test_spans_of_a_stream_are_verified_through_the_list_of_their_instance(raw_server):
    created = success(span_of("s-1"))

    def answer(request: Request) -> bytes:
        if request.method == "GET" and request.target.startswith("/api/v1/agent_spans/"):
            return reply(404, failure("not_found"))
        if request.method == "GET":
            spans = [span_of("s-1", "complete", finished_at=MOMENT)]
            return reply(200, {"status": "success", "summaries": spans})
        if b"agent_spans/finish" in request.body:
            finishes.append(request)
            return CUT if len(finishes) == 1 else in_order(lambda _: INVALID)(request)
        return in_order(lambda _: created)(request)

    finishes: list[Request] = []
    raw_server.answer = answer
    async with client_of(raw_server) as client:
        outcomes = await collect(
            client.bulk.stream(
                [SPAN_CREATE, SPAN_FINISH], group=lambda _: 1, chunk_size=1, ordered=True
            )
        )
    assert [outcome.state.value for outcome in outcomes] == ["ok", "ok"]
    assert any("agent_instance_id=i-1" in request.target for request in raw_server.requests)


async def test_a_finished_span_is_not_remembered(raw_server, raw_client):
    ended = success(span_of("s-1", "complete", finished_at=MOMENT))
    raw_server.answer = in_order(lambda _: ended)
    (outcome,) = await collect(raw_client.bulk.stream([SPAN_FINISH]))
    assert outcome.ok
