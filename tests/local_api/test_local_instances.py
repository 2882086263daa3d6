"""Instances of the local API: registering, the state table, quality (contract §7)."""

from datetime import UTC, datetime, timedelta

import pytest

from prefactor_http import _pfid

ALLOWED = {
    ("pending", "start"): "active",
    ("pending", "cancelled"): "cancelled",
    ("active", "complete"): "complete",
    ("active", "failed"): "failed",
    ("active", "terminate"): "terminated",
}
STATES = ["pending", "active", "complete", "failed", "cancelled", "terminated"]
STEPS = ["start", "complete", "failed", "cancelled", "terminate"]


async def take(call, instance_id, step, **fields):
    path = f"/agent_instance/{instance_id}"
    if step == "start":
        return await call.post(f"{path}/start", fields)
    if step == "terminate":
        return await call.post(f"{path}/terminate", {"reason": "enough", **fields})
    return await call.post(f"{path}/finish", {"status": step, **fields})


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", STATES)
async def test_every_row_of_the_state_table(api, call, state, step):
    instance_id = await call.instance(state)
    before = dict(api.instances[instance_id])
    reply = await take(call, instance_id, step)
    after = ALLOWED.get((state, step))
    if after is None:
        assert (reply.status, reply.code) == (409, "invalid_action")
        assert api.instances[instance_id] == before
    else:
        assert reply.details["status"] == after
        assert api.instances[instance_id] == reply.details


async def test_a_registered_instance_is_pending_and_shows_its_schema(api, call):
    reply = await call.register(purpose="eval", external_identifier="job-1")
    instance = reply.details
    assert instance["type"] == "agent_instance"
    assert instance["status"] == "pending"
    assert instance["purpose"] == "eval"
    assert instance["external_identifier"] == "job-1"
    assert instance["started_at"] is instance["finished_at"] is None
    assert _pfid.partition_of(instance["id"]) == _pfid.partition_of(api.account_id)
    schema = reply.json["agent_schema_version"]
    assert schema["type"] == "agent_schema_version"
    assert set(schema["span_type_schemas"]) == {"llm", "tool"}
    assert schema["span_type_schemas"]["tool"]["title"] == "tool"
    assert schema["current_agent_deployment_refs"] == [api.deployment_id]
    assert reply.json["agent_version"]["id"] == instance["agent_version_id"]
    assert (await call.get(f"/agent_instance/{instance['id']}")).details == instance


async def test_a_caller_can_choose_the_id_within_the_partition(api, call):
    chosen = _pfid.generate(_pfid.partition_of(api.account_id))
    assert (await call.register(id=chosen)).details["id"] == chosen
    again = await call.register(id=chosen)
    assert again.json["errors"] == {"id": ["has already been taken"]}
    foreign = _pfid.generate((_pfid.partition_of(api.account_id) + 1) % 2**30)
    assert (await call.register(id=foreign)).status == 422
    assert (await call.register(id="mine")).status == 422


async def test_an_external_identifier_is_unique_for_its_agent(call):
    assert (await call.register(external_identifier="one")).status == 200
    reply = await call.register(external_identifier="one")
    assert reply.json["errors"] == {"external_identifier": ["has already been taken"]}


async def test_versions_are_found_by_content_and_repeats_are_counted(call):
    first = await call.register()
    same = await call.register(agent_version={"name": "Version 1", "external_identifier": "v1"})
    other = await call.register(agent_version={"name": "Another", "external_identifier": "v1"})
    assert same.details["agent_version_id"] == first.details["agent_version_id"]
    assert other.details["agent_version_id"] != first.details["agent_version_id"]
    assert first.json["agent_version"]["external_identifier_repeats"] == 0
    assert other.json["agent_version"]["external_identifier_repeats"] == 1
    assert other.json["agent_schema_version"]["id"] == first.json["agent_schema_version"]["id"]


async def test_the_current_version_is_pinned_unless_asked_not_to(api, call):
    first = await call.register()
    path = f"/agent_deployment/{api.deployment_id}"
    assert (await call.get(path)).details["current_version_id"] == (
        first.details["agent_version_id"]
    )
    schema = {"span_schemas": {"a": {}}, "span_result_schemas": {"a": {"type": "string"}}}
    unpinned = await call.register(agent_schema_version=schema, update_current_version=False)
    assert unpinned.json["agent_schema_version"]["current_agent_deployment_refs"] == []
    assert unpinned.json["agent_schema_version"]["span_type_schemas"]["a"]["result_schema"] == {
        "type": "string"
    }
    pinned = await call.register(agent_schema_version=schema)
    assert pinned.json["agent_schema_version"]["current_agent_deployment_refs"] == [
        api.deployment_id
    ]
    listed = (await call.get("/agent_schema_version")).json["summaries"]
    assert [row["current_agent_deployment_refs"] for row in listed] == [[], [api.deployment_id]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"agent_version": ...}, "agent_version"),
        ({"agent_version": "v1"}, "agent_version"),
        ({"agent_version": {"name": 1}}, "agent_version.name"),
        ({"agent_version": {"runtime_environment": 1}}, "agent_version.runtime_environment"),
        (
            {"agent_version": {"runtime_environment": {"os": 1}}},
            "agent_version.runtime_environment.os",
        ),
        ({"agent_schema_version": None}, "agent_schema_version"),
        ({"agent_schema_version": {}}, "agent_schema_version.span_type_schemas"),
        (
            {"agent_schema_version": {"span_result_schemas": {}}},
            "agent_schema_version.span_result_schemas",
        ),
        (
            {"agent_schema_version": {"span_schemas": {}, "span_type_schemas": []}},
            "agent_schema_version.span_schemas",
        ),
        (
            {"agent_schema_version": {"span_type_schemas": {}}},
            "agent_schema_version.span_type_schemas",
        ),
        (
            {"agent_schema_version": {"span_type_schemas": ["llm"]}},
            "agent_schema_version.span_type_schemas.0",
        ),
        (
            {"agent_schema_version": {"span_type_schemas": [{"name": " ", "params_schema": {}}]}},
            "agent_schema_version.span_type_schemas.0.name",
        ),
        (
            {
                "agent_schema_version": {
                    "span_type_schemas": [
                        {
                            "name": "llm",
                            "params_schema": {},
                            "data_risk": {"action_profile": {"read_data": "maybe"}},
                        }
                    ]
                }
            },
            "agent_schema_version.span_type_schemas.0.data_risk.action_profile.read_data",
        ),
        (
            {
                "agent_schema_version": {
                    "span_type_schemas": [
                        {
                            "name": "llm",
                            "params_schema": {},
                            "data_risk": {"params_data_categories": {"classification": "odd"}},
                        }
                    ]
                }
            },
            (
                "agent_schema_version.span_type_schemas.0.data_risk"
                ".params_data_categories.classification"
            ),
        ),
        (
            {"agent_schema_version": {"span_type_schemas": [], "quality_schemas": [{}]}},
            "agent_schema_version.quality_schemas.0.name",
        ),
        ({"purpose": "fun"}, "purpose"),
        ({"purpose": 1}, "purpose"),
        ({"update_current_version": "maybe"}, "update_current_version"),
    ],
)
async def test_a_wrong_field_of_a_registration_is_named(api, call, changes, field):
    reply = await call.register(**changes)
    assert (reply.status, reply.code) == (422, "validation_errors")
    assert field in reply.json["errors"]
    assert not api.instances


async def test_an_unknown_agent_or_environment_is_not_found(call):
    assert (await call.register(agent_id="nobody")).status == 404
    assert (await call.register(environment_id="nowhere")).status == 404
    assert (await call.get("/agent_instance/nothing")).status == 404


async def test_the_times_of_a_lifecycle_are_the_callers(call):
    instance_id = await call.instance()
    started = await take(call, instance_id, "start", timestamp="2024-01-01T02:00:00+02:00")
    assert started.details["started_at"] == "2024-01-01T00:00:00.000000Z"
    early = await take(call, instance_id, "complete", timestamp="2023-12-31T23:59:59Z")
    assert early.json["errors"] == {"timestamp": ["is before the instance started"]}
    ended = await take(call, instance_id, "complete", timestamp="2024-01-01T00:00:01.5Z")
    assert ended.details["finished_at"] == "2024-01-01T00:00:01.500000Z"


async def test_without_a_time_it_is_now(call):
    instance_id = await call.instance()
    details = (await take(call, instance_id, "cancelled")).details
    assert details["started_at"] == details["finished_at"]
    moment = datetime.fromisoformat(details["finished_at"])
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=5)


@pytest.mark.parametrize("timestamp", ["2024-01-01T00:00:00", "yesterday", 1704067200])
async def test_a_timestamp_without_zone_or_sense_is_refused(call, timestamp):
    instance_id = await call.instance()
    reply = await take(call, instance_id, "start", timestamp=timestamp)
    assert "invalid_value" in reply.json["errors"]["timestamp"][0]


async def test_a_termination_keeps_its_reason_and_needs_one(call):
    instance_id = await call.instance("active")
    path = f"/agent_instance/{instance_id}/terminate"
    for reason in ({}, {"reason": None}, {"reason": "  "}, {"reason": 1}):
        reply = await call.post(path, reason)
        assert list(reply.json["errors"]) == ["reason"]
    assert (await call.post(path, {"reason": "runaway"})).details["termination_reason"] == "runaway"


async def test_quality_is_recorded_by_name_in_any_state_and_null_removes_it(call):
    instance_id = await call.instance("complete")
    path = f"/agent_instance/{instance_id}/record_quality"
    recorded = await call.post(path, {"name": "helpfulness", "payload": {"score": 1}})
    assert recorded.details["quality_payloads"] == {"helpfulness": {"score": 1}}
    assert set(recorded.details["quality_summaries"]) == {"helpfulness"}
    removed = await call.post(path, {"name": "helpfulness", "payload": None})
    assert removed.details["quality_payloads"] == {}
    unknown = await call.post(path, {"name": "charm", "payload": {}})
    assert list(unknown.json["errors"]) == ["name"]
    absent = await call.post(path, {"name": "helpfulness"})
    assert list(absent.json["errors"]) == ["payload"]


async def test_the_older_quality_call_replaces_everything(call):
    instance_id = await call.instance()
    path = f"/agent_instance/{instance_id}"
    reply = await call.send("PUT", path, json={"details": {"quality_payload": {"score": 2}}})
    assert reply.details["quality_payloads"] == {"score": 2}
    assert (await call.send("PUT", path, json={"quality_payload": {}})).status == 422


async def test_the_context_export_holds_instance_and_spans(call):
    instance_id = await call.instance("active")
    await call.span(instance_id)
    body = (await call.get(f"/agent_instance/{instance_id}/agent_context")).json["agent_context"]
    assert body["body"]["agent_instance"]["id"] == instance_id
    assert len(body["body"]["spans"]) == 1


async def test_ids_in_paths_are_percent_decoded(call):
    reply = await call.get("/agent_instance/a%2Fb%20c")
    assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize("body", [b"{", b"[]", b"nonsense"])
async def test_a_body_that_is_no_json_object_is_a_bad_request(call, body):
    reply = await call.send("POST", "/agent_instance/register", data=body)
    assert (reply.status, reply.code) == (400, "bad_request")
