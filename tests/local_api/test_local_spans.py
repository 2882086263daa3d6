"""Spans of the local API: creating, finishing, the control signal (contract §8)."""

import pytest

from prefactor_http import _pfid
from prefactor_http.testing import LocalPrefactor

FINISHED = ["complete", "failed", "cancelled"]
ALLOWED = {("active", "complete"), ("active", "failed"), ("pending", "cancelled")}


async def finish(call, span_id, **fields):
    return await call.post(f"/agent_spans/{span_id}/finish", fields)


@pytest.mark.parametrize("step", FINISHED)
@pytest.mark.parametrize("state", ["pending", "active", *FINISHED])
async def test_every_row_of_the_span_table(call, state, step):
    instance_id = await call.instance("active")
    span = (await call.span(instance_id, status=state)).details
    reply = await finish(call, span["id"], status=step)
    if (state, step) in ALLOWED:
        assert reply.details["status"] == step
        assert reply.details["started_at"]
        assert reply.details["finished_at"]
    else:
        assert (reply.status, reply.code) == (409, "invalid_action")


async def test_a_new_span_shows_what_it_was_made_of(api, call):
    instance_id = await call.instance("active")
    root = (await call.span(instance_id, payload={"q": 1})).details
    assert root["type"] == "agent_span"
    assert root["schema_title"] == "LLM call"
    assert root["parent_span_id"] is None
    assert root["finished_at"] is None
    chosen = _pfid.generate(_pfid.partition_of(api.account_id))
    child = (
        await call.span(instance_id, id=chosen, parent_span_id=root["id"], schema_name="unheard of")
    ).details
    assert child["id"] == chosen
    assert child["schema_title"] == "unheard of"
    assert (await call.get(f"/agent_spans/{chosen}")).details == child
    assert set(api.spans) == {root["id"], chosen}


async def test_a_span_can_be_created_finished(call):
    instance_id = await call.instance("active")
    reply = await call.span(
        instance_id,
        status="complete",
        started_at="2024-01-01T00:00:00Z",
        finished_at="2024-01-01T00:00:02Z",
        result_payload={"a": 1},
        sensitive_encoding=True,
    )
    assert reply.details["finished_at"] == "2024-01-01T00:00:02.000000Z"
    assert reply.details["result_payload"] == {"a": 1}
    counts = (await call.get(f"/agent_instance/{instance_id}")).details["span_counts"]
    assert (counts["total"], counts["complete"], counts["finished"]) == (1, 1, 1)


async def test_span_counts_follow_the_spans(call):
    instance_id = await call.instance("active")
    span = (await call.span(instance_id)).details
    await call.span(instance_id, status="pending")
    await finish(call, span["id"], status="failed", result_payload={"error": "x"})
    counts = (await call.get(f"/agent_instance/{instance_id}")).details["span_counts"]
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
        ({"parent_span_id": "nobody"}, "parent_span_id"),
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
async def test_a_wrong_field_of_a_span_is_named(api, call, changes, field):
    instance_id = await call.instance("active")
    reply = await call.span(instance_id, **changes)
    assert reply.status == 422
    assert list(reply.json["errors"]) == [f"details.{field}"]
    assert not api.spans


async def test_a_span_needs_its_wrapper_and_its_instance(call):
    assert "details" in (await call.post("/agent_spans", {"status": "active"})).json["errors"]
    assert (await call.span("nothing")).status == 404
    assert (await finish(call, "nothing")).status == 404


async def test_a_span_cannot_end_before_it_started(call):
    instance_id = await call.instance("active")
    span = (await call.span(instance_id)).details
    reply = await finish(call, span["id"], timestamp="2001-01-01T00:00:00Z")
    assert list(reply.json["errors"]) == ["timestamp"]


@pytest.mark.parametrize("state", ["complete", "failed", "cancelled"])
async def test_an_ended_instance_takes_no_spans(call, state):
    reply = await call.span(await call.instance(state))
    assert (reply.status, reply.code) == (409, "invalid_action")


async def test_a_pending_instance_takes_spans(call):
    assert (await call.span(await call.instance())).status == 200


async def test_span_replies_signal_a_termination_and_nothing_else_does(call):
    instance_id = await call.instance("active")
    first = await call.span(instance_id)
    assert "control" not in first.json
    path = f"/agent_instance/{instance_id}"
    terminated = await call.post(f"{path}/terminate", {"reason": "enough"})
    assert "control" not in terminated.json
    signal = {"terminate": True, "reason": "enough"}
    assert (await call.span(instance_id)).json["control"] == signal
    assert (await finish(call, first.details["id"])).json["control"] == signal
    assert "control" not in (await call.get(path)).json


async def test_a_replayed_span_signals_a_termination_that_came_after(api, call):
    instance_id = await call.instance("active")
    span = {"agent_instance_id": instance_id, "schema_name": "a", "status": "active", "payload": {}}
    body = {"details": span, "idempotency_key": "span-key"}
    first = await call.post("/agent_spans", body)
    await call.post(f"/agent_instance/{instance_id}/terminate", {"reason": "enough"})
    again = await call.post("/agent_spans", body)
    assert again.details == first.details
    assert again.json["control"]["terminate"] is True
    assert len(api.spans) == 1


async def test_open_spans_outlive_a_termination_unless_told_otherwise(call, session):
    instance_id = await call.instance("active")
    await call.span(instance_id)
    await call.post(f"/agent_instance/{instance_id}/terminate", {"reason": "enough"})
    assert [span["status"] for span in call.api.spans.values()] == ["active"]
    async with LocalPrefactor(close_spans_on_terminate=True) as other:
        strict = type(call)(other, session)
        instance_id = await strict.instance("active")
        await strict.span(instance_id)
        await strict.span(instance_id, status="complete")
        await strict.post(f"/agent_instance/{instance_id}/terminate", {"reason": "enough"})
        assert [span["status"] for span in other.spans.values()] == ["cancelled", "complete"]


async def test_test_spans_are_made_by_the_number(call):
    instance_id = await call.instance("active")
    path = "/agent_spans/create_test_spans"
    reply = await call.post(path, {"agent_instance_id": instance_id, "count": 3})
    assert len(reply.json["summaries"]) == 3
    assert (await call.post(path, {"agent_instance_id": instance_id, "count": 0})).status == 422
    assert (await call.post(path, {"agent_instance_id": instance_id, "count": "x"})).status == 422


async def test_spans_are_listed_by_instance_agent_and_time(api, call):
    one, other = await call.instance("active"), await call.instance("active")
    early = {"started_at": "2024-01-01T00:00:00Z"}
    await call.span(one, **early)
    await call.span(one, status="pending")
    await call.span(other)

    async def count(**query):
        reply = await call.get("/agent_spans", params=query)
        return len(reply.json["summaries"])

    assert await count(agent_instance_id=one) == 2
    assert await count(agent_instance_id="nothing") == 0
    assert await count(agent_id=api.agent_id) == 3
    assert await count(agent_id=api.agent_id, start_time="2024-06-01T00:00:00Z") == 1
    assert await count(agent_id=api.agent_id, end_time="2024-06-01T00:00:00Z") == 1
    assert (await call.get("/agent_spans")).status == 422
    assert (await call.get("/agent_spans", params={"agent_id": "a", "start_time": "x"})).status == (
        422
    )


async def test_listed_spans_carry_summaries_and_risk_when_asked(call):
    instance_id = await call.instance("active")
    await call.span(instance_id)
    query = {"agent_instance_id": instance_id}
    plain = (await call.get("/agent_spans", params=query)).json["summaries"][0]
    assert plain["summary"] is None
    assert "risk_level" not in plain
    query |= {"include_summaries": "true", "include_risk_level": "true"}
    full = (await call.get("/agent_spans", params=query)).json["summaries"][0]
    assert full["summary"] == "LLM call"
    assert full["risk_level"] is None
