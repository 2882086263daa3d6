"""Instances of the local API: register, states, quality (contract §7)."""

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


async def take(caller, instance_id, step, **fields):
    path = f"/agent_instance/{instance_id}"
    if step == "start":
        return await caller.post(f"{path}/start", fields)
    if step == "terminate":
        return await caller.post(f"{path}/terminate", {"reason": "enough", **fields})
    return await caller.post(f"{path}/finish", {"status": step, **fields})


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", STATES)
async def test_instances_follow_the_state_table(api, caller, state, step):
    instance_id = await caller.instance(state)
    before = dict(api.instances[instance_id])
    response = await take(caller, instance_id, step)
    after = ALLOWED.get((state, step))
    if after is None:
        assert (response.status, response.code) == (409, "invalid_action")
        assert api.instances[instance_id] == before
    else:
        assert response.details["status"] == after
        assert api.instances[instance_id] == response.details


async def test_a_register_response_has_a_pending_instance_and_its_versions(api, caller):
    response = await caller.register(purpose="eval", external_identifier="job-1")
    instance = response.details
    assert instance["type"] == "agent_instance"
    assert instance["status"] == "pending"
    assert instance["purpose"] == "eval"
    assert instance["external_identifier"] == "job-1"
    assert instance["started_at"] is instance["finished_at"] is None
    assert _pfid.partition_of(instance["id"]) == _pfid.partition_of(api.account_id)
    schema = response.json["agent_schema_version"]
    assert schema["type"] == "agent_schema_version"
    assert set(schema["span_type_schemas"]) == {"llm", "tool"}
    assert schema["span_type_schemas"]["tool"]["title"] == "tool"
    assert schema["current_agent_deployment_refs"] == [api.deployment_id]
    assert response.json["agent_version"]["id"] == instance["agent_version_id"]
    assert (await caller.get(f"/agent_instance/{instance['id']}")).details == instance


async def test_a_supplied_id_must_be_new_and_in_the_partition_of_the_account(api, caller):
    chosen = _pfid.generate(_pfid.partition_of(api.account_id))
    assert (await caller.register(id=chosen)).details["id"] == chosen
    again = await caller.register(id=chosen)
    assert again.json["errors"] == {"id": ["has already been taken"]}
    foreign = _pfid.generate((_pfid.partition_of(api.account_id) + 1) % 2**30)
    assert (await caller.register(id=foreign)).status == 422
    assert (await caller.register(id="mine")).status == 422


async def test_an_external_identifier_is_unique_per_agent(caller):
    assert (await caller.register(external_identifier="one")).status == 200
    response = await caller.register(external_identifier="one")
    assert response.json["errors"] == {"external_identifier": ["has already been taken"]}


async def test_versions_are_found_by_content_and_repeated_identifiers_are_counted(caller):
    first = await caller.register()
    same = await caller.register(agent_version={"name": "Version 1", "external_identifier": "v1"})
    other = await caller.register(agent_version={"name": "Another", "external_identifier": "v1"})
    assert same.details["agent_version_id"] == first.details["agent_version_id"]
    assert other.details["agent_version_id"] != first.details["agent_version_id"]
    assert first.json["agent_version"]["external_identifier_repeats"] == 0
    assert other.json["agent_version"]["external_identifier_repeats"] == 1
    assert other.json["agent_schema_version"]["id"] == first.json["agent_schema_version"]["id"]


async def test_the_current_version_is_pinned_unless_disabled(api, caller):
    first = await caller.register()
    path = f"/agent_deployment/{api.deployment_id}"
    assert (await caller.get(path)).details["current_version_id"] == (
        first.details["agent_version_id"]
    )
    schema = {"span_schemas": {"a": {}}, "span_result_schemas": {"a": {"type": "string"}}}
    unpinned = await caller.register(agent_schema_version=schema, update_current_version=False)
    assert unpinned.json["agent_schema_version"]["current_agent_deployment_refs"] == []
    assert unpinned.json["agent_schema_version"]["span_type_schemas"]["a"]["result_schema"] == {
        "type": "string"
    }
    pinned = await caller.register(agent_schema_version=schema)
    assert pinned.json["agent_schema_version"]["current_agent_deployment_refs"] == [
        api.deployment_id
    ]
    listed = (await caller.get("/agent_schema_version")).json["summaries"]
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
async def test_an_invalid_field_of_a_register_is_reported_by_name(api, caller, changes, field):
    response = await caller.register(**changes)
    assert (response.status, response.code) == (422, "validation_errors")
    assert field in response.json["errors"]
    assert not api.instances


async def test_an_unknown_agent_or_environment_is_not_found(caller):
    assert (await caller.register(agent_id="unknown")).status == 404
    assert (await caller.register(environment_id="nowhere")).status == 404
    assert (await caller.get("/agent_instance/nothing")).status == 404


async def test_timestamps_sent_by_the_caller_are_used(caller):
    instance_id = await caller.instance()
    started = await take(caller, instance_id, "start", timestamp="2024-01-01T02:00:00+02:00")
    assert started.details["started_at"] == "2024-01-01T00:00:00.000000Z"
    early = await take(caller, instance_id, "complete", timestamp="2023-12-31T23:59:59Z")
    assert early.json["errors"] == {"timestamp": ["is before the instance started"]}
    ended = await take(caller, instance_id, "complete", timestamp="2024-01-01T00:00:01.5Z")
    assert ended.details["finished_at"] == "2024-01-01T00:00:01.500000Z"


async def test_a_missing_timestamp_defaults_to_the_current_time(caller):
    instance_id = await caller.instance()
    details = (await take(caller, instance_id, "cancelled")).details
    assert details["started_at"] == details["finished_at"]
    moment = datetime.fromisoformat(details["finished_at"])
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=5)


@pytest.mark.parametrize("timestamp", ["2024-01-01T00:00:00", "yesterday", 1704067200])
async def test_an_invalid_timestamp_or_one_without_a_time_zone_is_refused(caller, timestamp):
    instance_id = await caller.instance()
    response = await take(caller, instance_id, "start", timestamp=timestamp)
    assert "invalid_value" in response.json["errors"]["timestamp"][0]


async def test_terminate_requires_a_reason_and_stores_it(caller):
    instance_id = await caller.instance("active")
    path = f"/agent_instance/{instance_id}/terminate"
    for reason in ({}, {"reason": None}, {"reason": "  "}, {"reason": 1}):
        response = await caller.post(path, reason)
        assert list(response.json["errors"]) == ["reason"]
    terminated = (await caller.post(path, {"reason": "runaway"})).details
    assert terminated["termination_reason"] == "runaway"


async def test_quality_is_recorded_by_name_in_any_state_and_null_removes_it(caller):
    instance_id = await caller.instance("complete")
    path = f"/agent_instance/{instance_id}/record_quality"
    recorded = await caller.post(path, {"name": "helpfulness", "payload": {"score": 1}})
    assert recorded.details["quality_payloads"] == {"helpfulness": {"score": 1}}
    assert set(recorded.details["quality_summaries"]) == {"helpfulness"}
    removed = await caller.post(path, {"name": "helpfulness", "payload": None})
    assert removed.details["quality_payloads"] == {}
    unknown = await caller.post(path, {"name": "charm", "payload": {}})
    assert list(unknown.json["errors"]) == ["name"]
    absent = await caller.post(path, {"name": "helpfulness"})
    assert list(absent.json["errors"]) == ["payload"]


async def test_the_older_quality_update_replaces_the_whole_payload(caller):
    instance_id = await caller.instance()
    path = f"/agent_instance/{instance_id}"
    response = await caller.send("PUT", path, json={"details": {"quality_payload": {"score": 2}}})
    assert response.details["quality_payloads"] == {"score": 2}
    assert (await caller.send("PUT", path, json={"quality_payload": {}})).status == 422


async def test_the_agent_context_contains_the_instance_and_its_spans(caller):
    instance_id = await caller.instance("active")
    await caller.span(instance_id)
    body = (await caller.get(f"/agent_instance/{instance_id}/agent_context")).json["agent_context"]
    assert body["body"]["agent_instance"]["id"] == instance_id
    assert len(body["body"]["spans"]) == 1


async def test_ids_in_paths_are_percent_decoded(caller):
    response = await caller.get("/agent_instance/a%2Fb%20c")
    assert (response.status, response.code) == (404, "not_found")


@pytest.mark.parametrize("body", [b"{", b"[]", b"nonsense"])
async def test_a_body_that_is_not_a_json_object_is_a_bad_request(caller, body):
    response = await caller.send("POST", "/agent_instance/register", data=body)
    assert (response.status, response.code) == (400, "bad_request")
