"""Replies: what must be there is named when it is missing, what is new is let through."""

from datetime import UTC, datetime

import msgspec
import pytest

from prefactor_http.models import (
    Account,
    Agent,
    AgentDeployment,
    AgentInstance,
    AgentInstanceSummary,
    AgentSchemaVersion,
    AgentSpan,
    AgentSummary,
    AgentVersion,
    ApiError,
    ApiResponse,
    Control,
    DetailedApiError,
    Environment,
    ListResponse,
    QualitySchemaDetails,
)

INSTANCE = {
    "type": "agent_instance",
    "id": "01",
    "account_id": "acc",
    "agent_id": "a",
    "agent_version_id": "v",
    "environment_id": "e",
    "status": "pending",
    "inserted_at": "2024-01-01T00:00:00Z",
    "updated_at": "2024-01-01T00:00:00.123456Z",
}
SPAN = {
    "type": "agent_span",
    "id": "02",
    "agent_instance_id": "01",
    "schema_name": "llm",
    "status": "active",
}
AGENT = {"type": "agent", "id": "a", "name": "Agent", "status": "active"}
REQUIRED = [
    (AgentInstance, INSTANCE),
    (AgentInstanceSummary, INSTANCE),
    (AgentSpan, SPAN),
    (Agent, AGENT),
    (AgentSummary, AGENT),
    (Environment, {"id": "e", "name": "production"}),
    (
        AgentDeployment,
        {"type": "agent_deployment", "id": "d", "agent_id": "a", "environment_id": "e"},
    ),
    (AgentVersion, {"id": "v", "agent_id": "a"}),
    (AgentSchemaVersion, {"id": "s", "agent_id": "a"}),
    (Account, {"id": "acc"}),
    (QualitySchemaDetails, {"name": "q", "title": "Q", "schema": {}}),
]


def decode(kind, value):
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


@pytest.mark.parametrize(("model", "fields"), REQUIRED, ids=lambda v: getattr(v, "__name__", ""))
def test_a_reply_with_the_least_that_is_promised_is_taken(model, fields):
    details = decode(ApiResponse[model], {"status": "success", "details": fields}).result
    assert isinstance(details, model)
    assert details.id == fields["id"] if "id" in fields else details.name == fields["name"]


@pytest.mark.parametrize(
    ("model", "fields", "missing"),
    [(model, fields, name) for model, fields in REQUIRED for name in fields],
    ids=lambda v: getattr(v, "__name__", v if isinstance(v, str) else ""),
)
def test_a_field_that_is_missing_is_named(model, fields, missing):
    rest = {name: value for name, value in fields.items() if name != missing}
    with pytest.raises(msgspec.ValidationError, match=rf"`{missing}` - at `\$\.details`"):
        decode(ApiResponse[model], {"status": "success", "details": rest})


@pytest.mark.parametrize(("model", "fields"), REQUIRED, ids=lambda v: getattr(v, "__name__", ""))
def test_fields_that_are_not_known_are_ignored(model, fields):
    reply = {"status": "success", "details": {**fields, "new": {"deep": [1]}}, "beside": 1}
    assert decode(ApiResponse[model], reply).details == decode(model, fields)


@pytest.mark.parametrize("model", [AgentInstance, AgentInstanceSummary])
def test_a_status_and_purpose_that_are_not_known_are_kept(model):
    instance = decode(model, {**INSTANCE, "status": "paused", "purpose": "audit"})
    assert (instance.status, instance.purpose) == ("paused", "audit")


def test_everything_that_an_instance_may_tell_is_read():
    instance = decode(
        AgentInstance,
        INSTANCE
        | {
            "agent_deployment_id": "d",
            "status": "terminated",
            "started_at": "2024-01-01T00:00:01+01:00",
            "finished_at": None,
            "termination_reason": "runaway",
            "external_identifier": "job-1",
            "purpose": "live",
            "span_counts": {"total": 3, "pending": 1, "active": 2, "sleeping": 4},
            "quality_payloads": {"q": {"score": 1}},
            "quality_summaries": {"q": "1"},
            "cost_breakdown": {"total_cost": "0.1"},
            "span_schema_counts": {"llm": 3},
            "risk_score": 7,
        },
    )
    assert instance.updated_at == datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert instance.started_at == datetime(2023, 12, 31, 23, 0, 1, tzinfo=UTC)
    assert instance.finished_at is None
    assert instance.span_counts.pending == 1
    assert instance.span_counts.finished == 0
    assert instance.quality_payloads == {"q": {"score": 1}}
    assert instance.risk_score == 7.0


def test_a_reply_cannot_be_changed():
    instance = decode(AgentInstance, INSTANCE)
    with pytest.raises(AttributeError):
        instance.status = "complete"


def test_a_span_without_payload_has_an_empty_one():
    span = decode(AgentSpan, SPAN | {"risk_level": "high", "sensitive_encoding": False})
    assert span.payload == {}
    assert span.result_payload is None
    assert span.risk_level == "high"


def test_an_agent_in_full_is_also_what_lists_show():
    agent = decode(
        Agent,
        AGENT
        | {
            "instance_counts": {"total": 2, "terminated": 1},
            "available_actions": {"retire": True},
            "risk_profile_id": "r",
        },
    )
    assert isinstance(agent, AgentSummary)
    assert agent.instance_counts.terminated == 1
    assert agent.available_actions.retire
    assert not agent.available_actions.delete


@pytest.mark.parametrize("many", [list, lambda schemas: {s["name"]: s for s in schemas}])
def test_a_schema_version_has_its_types_by_name_and_its_quality_schemas_in_either_form(many):
    version = decode(
        AgentSchemaVersion,
        {
            "id": "s",
            "agent_id": "a",
            "external_identifier_repeats": 2,
            "span_type_schemas": {"llm": {"title": "LLM", "data_risk": {"new": "value"}}},
            "quality_schemas": many([{"name": "q", "title": "Q", "schema": {}}]),
        },
    )
    assert version.span_type_schemas["llm"].title == "LLM"
    assert version.span_type_schemas["llm"].data_risk == {"new": "value"}
    assert len(version.quality_schemas) == 1


def test_a_control_signal_is_read_where_there_is_one():
    reply = {"status": "success", "details": SPAN}
    assert decode(ApiResponse[AgentSpan], reply).control is None
    reply["control"] = {"terminate": True, "reason": "runaway"}
    assert decode(ApiResponse[AgentSpan], reply).control == Control(
        terminate=True, reason="runaway"
    )


def test_a_page_is_a_sequence_of_its_items():
    page = decode(
        ListResponse[AgentSummary],
        {
            "status": "success",
            "summaries": [AGENT, {**AGENT, "id": "b"}, {**AGENT, "id": "c"}],
            "pagination": {
                "item_count": 3,
                "item_start": 1,
                "item_end": 3,
                "page_count": 1,
                "page_index": 1,
                "page_offset": 0,
                "page_size": 50,
                "next_page_offset": None,
                "previous_page_offset": None,
            },
            "sorting": {"field": "id", "direction": "asc"},
        },
    )
    assert page.result is page
    assert [agent.id for agent in page] == ["a", "b", "c"]
    assert len(page) == 3
    assert page[1] is page.items[1]
    assert page[1:] == page.summaries[1:]
    assert page.pagination.next_page_offset is None
    assert page.sorting.direction == "asc"


def test_a_page_may_come_without_pagination_and_sorting():
    page = decode(ListResponse[AgentSummary], {"summaries": [], "pagination": None})
    assert (list(page), page.pagination, page.sorting) == ([], None, None)


def test_an_error_may_lack_its_message():
    assert decode(ApiError, {"status": "error", "code": "not_found"}).message is None
    errors = {"details": {"status": ["is invalid"]}}
    assert (
        decode(DetailedApiError, {"code": "validation_errors", "errors": errors}).errors == errors
    )
