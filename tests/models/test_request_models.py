"""Requests become the bytes that the API documents: absent is absent, null is null."""

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import UNSET, Raw

from prefactor_http.models import (
    ActionProfile,
    ActionRequest,
    AgentForCreate,
    AgentForUpdate,
    AgentInstanceRecordQuality,
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    CreateAgentSpanRequest,
    DataCategories,
    DataRisk,
    DetailsRequest,
    FinishInstanceRequest,
    FinishSpanRequest,
    QualitySchemaForCreate,
    RegisterAgentInstanceRequest,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
    TerminateInstanceRequest,
    TimestampRequest,
)

KEY = "0f8fad5b-d9cb-469f-a165-70867728950e"
MOMENT = datetime(2024, 1, 1, 12, 30, 0, 250000, tzinfo=UTC)
SPAN_TYPE = SpanTypeSchemaForCreate(name="llm", params_schema={"type": "object"})
RISK = DataRisk(
    action_profile=ActionProfile(read_data="allowed"),
    params_data_categories=DataCategories(),
    result_data_categories=DataCategories(classification="secret"),
)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (RegisterAgentInstanceRequest(), b"{}"),
        (
            RegisterAgentInstanceRequest(
                idempotency_key=KEY,
                purpose="eval",
                update_current_version=True,
                external_identifier="job-1",
                id="i",
                agent_schema_version={"external_identifier": "s1", "span_schemas": {}},
                agent_version=AgentVersionForRegister(name="n", external_identifier="v1"),
                environment_id="e",
                agent_id="a",
            ),
            b'{"agent_id":"a","environment_id":"e",'
            b'"agent_version":{"external_identifier":"v1","name":"n"},'
            b'"agent_schema_version":{"external_identifier":"s1","span_schemas":{}},'
            b'"id":"i","external_identifier":"job-1","purpose":"eval",'
            b'"update_current_version":true,"idempotency_key":"%s"}' % KEY.encode(),
        ),
        (
            RegisterAgentInstanceRequest(
                agent_id=None, agent_version=Raw(b'{"name":"kept as it is"}')
            ),
            b'{"agent_id":null,"agent_version":{"name":"kept as it is"}}',
        ),
        (TimestampRequest(), b"{}"),
        (TimestampRequest(timestamp=None), b'{"timestamp":null}'),
        (
            TimestampRequest(idempotency_key="k", timestamp=MOMENT),
            b'{"timestamp":"2024-01-01T12:30:00.250000Z","idempotency_key":"k"}',
        ),
        (
            FinishInstanceRequest(
                status="failed", timestamp="2024-01-01T00:00:00Z", idempotency_key="k"
            ),
            b'{"status":"failed","timestamp":"2024-01-01T00:00:00Z","idempotency_key":"k"}',
        ),
        (TerminateInstanceRequest(reason="r"), b'{"reason":"r"}'),
        (AgentInstanceRecordQuality(name="q"), b'{"name":"q","payload":null}'),
        (
            AgentInstanceRecordQuality(name="q", payload={"score": 1}, idempotency_key="k"),
            b'{"name":"q","payload":{"score":1},"idempotency_key":"k"}',
        ),
        (ActionRequest(), b"{}"),
        (ActionRequest(idempotency_key="k"), b'{"idempotency_key":"k"}'),
        (
            DetailsRequest(
                details=CreateAgentSpanRequest(
                    agent_instance_id="i", schema_name="llm", status="active"
                ),
                idempotency_key="k",
            ),
            (
                b'{"details":{"agent_instance_id":"i","schema_name":"llm","status":"active",'
                b'"payload":{}},"idempotency_key":"k"}'
            ),
        ),
        (
            CreateAgentSpanRequest(
                agent_instance_id="i",
                schema_name="llm",
                status="complete",
                payload={"p": 1},
                result_payload=None,
                id="s",
                parent_span_id="p",
                started_at=MOMENT,
                finished_at=None,
                sensitive_encoding=True,
            ),
            (
                b'{"agent_instance_id":"i","schema_name":"llm","status":"complete","payload":{"p":1},'
                b'"result_payload":null,"id":"s","parent_span_id":"p",'
                b'"started_at":"2024-01-01T12:30:00.250000Z","finished_at":null,'
                b'"sensitive_encoding":true}'
            ),
        ),
        (FinishSpanRequest(), b"{}"),
        (
            FinishSpanRequest(
                status="complete", result_payload={}, timestamp="t", idempotency_key="k"
            ),
            b'{"status":"complete","result_payload":{},"timestamp":"t","idempotency_key":"k"}',
        ),
        (DetailsRequest(details=AgentForCreate(name="a")), b'{"details":{"name":"a"}}'),
        (
            DetailsRequest(details=AgentForUpdate(name="a", team_id=None), idempotency_key="k"),
            b'{"details":{"name":"a","team_id":null},"idempotency_key":"k"}',
        ),
        (AgentForUpdate(), b"{}"),
        (
            AgentVersionForRegister(
                external_identifier="v1", runtime_environment=RuntimeEnvironment(os="linux")
            ),
            b'{"external_identifier":"v1","runtime_environment":{"os":"linux"}}',
        ),
        (AgentSchemaVersionForRegister(), b"{}"),
        (
            AgentSchemaVersionForRegister(
                external_identifier="s1",
                span_type_schemas=[SPAN_TYPE],
                quality_schemas=[QualitySchemaForCreate(name="q", schema={"type": "object"})],
            ),
            (
                b'{"external_identifier":"s1",'
                b'"span_type_schemas":[{"name":"llm","params_schema":{"type":"object"}}],'
                b'"quality_schemas":[{"name":"q","schema":{"type":"object"}}]}'
            ),
        ),
        (
            AgentSchemaVersionForRegister(
                span_type_schemas=None, span_schemas={"a": {}}, span_result_schemas={"a": {}}
            ),
            b'{"span_type_schemas":null,"span_schemas":{"a":{}},"span_result_schemas":{"a":{}}}',
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bytes) else "",
)
def test_a_request_goes_out_as_documented(request_, body):
    assert msgspec.json.encode(request_) == body


def test_a_data_risk_says_unknown_for_what_was_not_said():
    sent = msgspec.to_builtins(RISK)
    assert list(sent) == ["action_profile", "params_data_categories", "result_data_categories"]
    assert sent["action_profile"]["read_data"] == "allowed"
    assert sent["action_profile"]["create_data"] == "unknown"
    assert set(sent["params_data_categories"].values()) == {"unknown"}
    assert sent["result_data_categories"]["classification"] == "secret"


def test_what_was_left_out_shows_as_unset_and_not_in_the_repr():
    version = AgentVersionForRegister(name="n")
    assert version.description is UNSET
    assert repr(version) == "AgentVersionForRegister(name='n')"


def test_two_spans_share_no_payload():
    one, other = (
        CreateAgentSpanRequest(agent_instance_id="i", schema_name="s", status="active")
        for _ in range(2)
    )
    one.payload["a"] = 1
    assert other.payload == {}
