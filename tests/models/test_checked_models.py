"""What callers build by hand is checked where it is built, and the message says what was wrong."""

import copy
import pickle

import msgspec
import pytest

from prefactor_http.models import (
    ActionProfile,
    AgentForCreate,
    AgentForUpdate,
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    DataCategories,
    DataRisk,
    QualitySchemaDetails,
    QualitySchemaForCreate,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (
            ActionProfile,
            {"read_data": "maybe"},
            "ActionProfile.read_data: 'maybe' is none of 'unknown', 'allowed', 'disallowed'",
        ),
        (
            ActionProfile,
            {"read_data": None},
            "ActionProfile.read_data: NoneType is none of 'unknown', 'allowed', 'disallowed'",
        ),
        (
            DataCategories,
            {"classification": []},
            (
                "DataCategories.classification: list is none of 'unknown', 'public', 'internal', "
                "'confidential', 'restricted', 'secret'"
            ),
        ),
        (AgentForCreate, {"name": 3}, "AgentForCreate.name: Expected `str`, got `int`"),
        (AgentForUpdate, {"name": 3}, "AgentForUpdate.name: Expected `str | null`, got `int`"),
        (
            RuntimeEnvironment,
            {"agent_sdk": ["a", 1]},
            "RuntimeEnvironment.agent_sdk: Expected `str`, got `int` - at `$[1]`",
        ),
        (
            SpanTypeSchemaForCreate,
            {"name": "a", "params_schema": '{"type": "object"}'},
            "SpanTypeSchemaForCreate.params_schema: Expected `object`, got `str`",
        ),
        (
            AgentVersionForRegister,
            {"runtime_environment": {"os": 1}},
            (
                "AgentVersionForRegister.runtime_environment: "
                "Expected `str | null`, got `int` - at `$.os`"
            ),
        ),
        (
            AgentSchemaVersionForRegister,
            {"span_type_schemas": [{"name": "a"}]},
            (
                "AgentSchemaVersionForRegister.span_type_schemas: "
                "Object missing required field `params_schema` - at `$[0]`"
            ),
        ),
        (
            AgentSchemaVersionForRegister,
            {"span_type_schemas": [], "span_schemas": {}},
            "AgentSchemaVersionForRegister: give span_type_schemas or span_schemas, not both",
        ),
        (
            AgentSchemaVersionForRegister,
            {"span_type_schemas": [], "span_result_schemas": {}},
            (
                "AgentSchemaVersionForRegister: span_result_schemas needs span_schemas; "
                "in span_type_schemas each type has its result_schema"
            ),
        ),
    ],
)
def test_a_field_that_does_not_fit_is_refused(model, arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 # compared in full
        model(**arguments)
    assert str(caught.value) == message


def test_a_message_does_not_repeat_a_huge_value():
    with pytest.raises(ValueError, match=r"^DataRisk\.action_profile: ") as caught:
        DataRisk(
            action_profile={"read_data": "x" * 10_000},
            params_data_categories=DataCategories(),
            result_data_categories=DataCategories(),
        )
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match="is none of") as caught:
        ActionProfile(read_data="x" * 10_000)
    assert len(str(caught.value)) < 300


def test_a_keyword_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="descripton"):
        AgentForCreate(name="a", descripton="typo")


def test_a_dict_in_place_of_a_model_goes_out_with_the_keys_that_the_model_does_not_know():
    risk = {
        "action_profile": {"read_data": "allowed"},
        "params_data_categories": {},
        "result_data_categories": {},
        "reviewed_by": "security",
    }
    span_type = SpanTypeSchemaForCreate(name="a", params_schema={}, data_risk=risk)
    assert msgspec.to_builtins(span_type)["data_risk"] == risk


@pytest.mark.parametrize("keyword", ["schema", "schema_"])
def test_a_quality_schema_takes_its_schema_by_both_names(keyword):
    schema = {"type": "object"}
    sent = QualitySchemaForCreate(name="q", **{keyword: schema})
    kept = QualitySchemaDetails(name="q", title="Q", **{keyword: schema})
    assert sent.schema == sent.schema_ == kept.schema == kept.schema_ == schema
    assert msgspec.json.encode(sent) == b'{"name":"q","schema":{"type":"object"}}'


def test_a_quality_schema_takes_its_schema_once():
    with pytest.raises(TypeError, match="schema_"):
        QualitySchemaForCreate(name="q", schema={}, schema_={})
    with pytest.raises(TypeError, match="schema"):
        QualitySchemaForCreate(name="q")


@pytest.mark.parametrize(
    "model",
    [
        AgentForUpdate(name="a", team_id=None),
        QualitySchemaForCreate(name="q", schema={"a": 1}),
        AgentSchemaVersionForRegister(
            span_type_schemas=[SpanTypeSchemaForCreate(name="a", params_schema={})]
        ),
    ],
)
def test_a_model_survives_copying_pickling_and_replacing(model):
    assert copy.deepcopy(model) == pickle.loads(pickle.dumps(model)) == model
    assert msgspec.structs.replace(model) == model
