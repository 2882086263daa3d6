"""Spans of the local API: create, finish, control signal (contract §8)."""

import pytest
from plain_caller import Caller

from prefactor_http import _pfid
from prefactor_http.testing import LocalPrefactor

FINISHED = ["complete", "failed", "cancelled"]
ALLOWED = {("active", "complete"), ("active", "failed"), ("pending", "cancelled")}


async def finish(caller, span_id, **fields):
    return await caller.post(f"/agent_spans/{span_id}/finish", fields)


@pytest.mark.parametrize("step", FINISHED)
@pytest.mark.parametrize("state", ["pending", "active", *FINISHED])
async def test_spans_follow_the_state_table(caller, state, step):
    instance_id = await caller.instance("active")
    span = (await caller.span(instance_id, status=state)).details
    response = await finish(caller, span["id"], status=step)
    if (state, step) in ALLOWED:
        assert response.details["status"] == step
        assert response.details["started_at"]
        assert response.details["finished_at"]
    else:
        assert (response.status, response.code) == (409, "invalid_action")


async def test_a_created_span_has_the_fields_it_was_created_with(api, caller):
    instance_id = await caller.instance("active")
    root = (await caller.span(instance_id, payload={"q": 1})).details
    assert root["type"] == "agent_span"
    assert root["schema_title"] == "LLM call"
    assert root["parent_span_id"] is None
    assert root["finished_at"] is None
    chosen = _pfid.generate(_pfid.partition_of(api.account_id))
    fields = {"id": chosen, "parent_span_id": root["id"], "schema_name": "undeclared"}
    child = (await caller.span(instance_id, **fields)).details
    assert child["id"] == chosen
    assert child["schema_title"] == "undeclared"
    assert (await caller.get(f"/agent_spans/{chosen}")).details == child
    assert set(api.spans) == {root["id"], chosen}


async def test_a_span_can_be_created_in_a_final_status(caller):
    instance_id = await caller.instance("active")
    response = await caller.span(
        instance_id,
        status="complete",
        started_at="2024-01-01T00:00:00Z",
        finished_at="2024-01-01T00:00:02Z",
        result_payload={"a": 1},
        sensitive_encoding=True,
    )
    assert response.details["finished_at"] == "2024-01-01T00:00:02.000000Z"
    assert response.details["result_payload"] == {"a": 1}
    counts = (await caller.get(f"/agent_instance/{instance_id}")).details["span_counts"]
    assert (counts["total"], counts["complete"], counts["finished"]) == (1, 1, 1)


async def test_span_counts_are_kept_up_to_date(caller):
    instance_id = await caller.instance("active")
    span = (await caller.span(instance_id)).details
    await caller.span(instance_id, status="pending")
    await finish(caller, span["id"], status="failed", result_payload={"error": "x"})
    counts = (await caller.get(f"/agent_instance/{instance_id}")).details["span_counts"]
    assert counts == {
        "total": 2,
        "pending": 1,
        "active": 0,
        "complete": 0,
        "failed": 1,
        "cancelled": 0,
        "finished": 1,
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"agent_instance_id": None}, "agent_instance_id"),
        ({"schema_name": " "}, "schema_name"),
        ({"status": None}, "status"),
        ({"status": "terminated"}, "status"),
        ({"payload": None}, "payload"),
        ({"payload": []}, "payload"),
        ({"result_payload": {}}, "result_payload"),
        ({"sensitive_encoding": 1}, "sensitive_encoding"),
        ({"started_at": "2024-01-01T00:00:00"}, "started_at"),
        ({"parent_span_id": "unknown"}, "parent_span_id"),
        ({"id": "mine"}, "id"),
        (
            {
                "status": "complete",
                "started_at": "2024-01-02T00:00:00Z",
                "finished_at": "2024-01-01T00:00:00Z",
            },
            "finished_at",
        ),
    ],
)
async def test_an_invalid_field_of_a_span_is_reported_by_name(api, caller, changes, field):
    instance_id = await caller.instance("active")
    response = await caller.span(instance_id, **changes)
    assert response.status == 422
    assert list(response.json["errors"]) == [f"details.{field}"]
    assert not api.spans


async def test_a_span_requires_details_and_an_existing_instance(caller):
    assert "details" in (await caller.post("/agent_spans", {"status": "active"})).json["errors"]
    assert (await caller.span("nothing")).status == 404
    assert (await finish(caller, "nothing")).status == 404


async def test_a_span_cannot_finish_before_it_started(caller):
    instance_id = await caller.instance("active")
    span = (await caller.span(instance_id)).details
    response = await finish(caller, span["id"], timestamp="2001-01-01T00:00:00Z")
    assert list(response.json["errors"]) == ["timestamp"]


@pytest.mark.parametrize("state", ["complete", "failed", "cancelled"])
async def test_a_finished_instance_accepts_no_spans(caller, state):
    response = await caller.span(await caller.instance(state))
    assert (response.status, response.code) == (409, "invalid_action")


async def test_a_pending_instance_accepts_spans(caller):
    assert (await caller.span(await caller.instance())).status == 200


async def test_only_span_responses_carry_the_termination_signal(caller):
    instance_id = await caller.instance("active")
    first = await caller.span(instance_id)
    assert "control" not in first.json
    path = f"/agent_instance/{instance_id}"
    terminated = await caller.post(f"{path}/terminate", {"reason": "enough"})
    assert "control" not in terminated.json
    signal = {"terminate": True, "reason": "enough"}
    assert (await caller.span(instance_id)).json["control"] == signal
    assert (await finish(caller, first.details["id"])).json["control"] == signal
    assert "control" not in (await caller.get(path)).json


async def test_a_replayed_span_response_signals_a_later_termination(api, caller):
    instance_id = await caller.instance("active")
    span = {"agent_instance_id": instance_id, "schema_name": "a", "status": "active", "payload": {}}
    body = {"details": span, "idempotency_key": "span-key"}
    first = await caller.post("/agent_spans", body)
    await caller.post(f"/agent_instance/{instance_id}/terminate", {"reason": "enough"})
    again = await caller.post("/agent_spans", body)
    assert again.details == first.details
    assert again.json["control"]["terminate"] is True
    assert len(api.spans) == 1


async def test_terminate_leaves_spans_open_unless_configured_to_close_them(caller, session):
    instance_id = await caller.instance("active")
    await caller.span(instance_id)
    await caller.post(f"/agent_instance/{instance_id}/terminate", {"reason": "enough"})
    assert [span["status"] for span in caller.api.spans.values()] == ["active"]
    async with LocalPrefactor(close_spans_on_terminate=True) as other:
        strict = Caller(other, session)
        instance_id = await strict.instance("active")
        await strict.span(instance_id)
        await strict.span(instance_id, status="complete")
        await strict.post(f"/agent_instance/{instance_id}/terminate", {"reason": "enough"})
        assert [span["status"] for span in other.spans.values()] == ["cancelled", "complete"]


async def test_create_test_spans_creates_the_requested_number(caller):
    instance_id = await caller.instance("active")
    path = "/agent_spans/create_test_spans"
    response = await caller.post(path, {"agent_instance_id": instance_id, "count": 3})
    assert len(response.json["summaries"]) == 3
    assert (await caller.post(path, {"agent_instance_id": instance_id, "count": 0})).status == 422
    assert (await caller.post(path, {"agent_instance_id": instance_id, "count": "x"})).status == 422


async def test_spans_can_be_filtered_by_instance_agent_and_time(api, caller):
    one, other = await caller.instance("active"), await caller.instance("active")
    early = {"started_at": "2024-01-01T00:00:00Z"}
    await caller.span(one, **early)
    await caller.span(one, status="pending")
    await caller.span(other)

    async def count(**query):
        response = await caller.get("/agent_spans", params=query)
        return len(response.json["summaries"])

    assert await count(agent_instance_id=one) == 2
    assert await count(agent_instance_id="nothing") == 0
    assert await count(agent_id=api.agent_id) == 3
    assert await count(agent_id=api.agent_id, start_time="2024-06-01T00:00:00Z") == 1
    assert await count(agent_id=api.agent_id, end_time="2024-06-01T00:00:00Z") == 1
    assert (await caller.get("/agent_spans")).status == 422
    invalid = {"agent_id": "a", "start_time": "x"}
    assert (await caller.get("/agent_spans", params=invalid)).status == 422


async def test_listed_spans_have_summaries_and_risk_levels_on_request(caller):
    instance_id = await caller.instance("active")
    await caller.span(instance_id)
    query = {"agent_instance_id": instance_id}
    plain = (await caller.get("/agent_spans", params=query)).json["summaries"][0]
    assert plain["summary"] is None
    assert "risk_level" not in plain
    query |= {"include_summaries": "true", "include_risk_level": "true"}
    full = (await caller.get("/agent_spans", params=query)).json["summaries"][0]
    assert full["summary"] == "LLM call"
    assert full["risk_level"] is None
