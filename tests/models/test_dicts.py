"""Dicts instead of models: the TypedDicts match the models, and unknown keys are logged once."""

import inspect
import logging
from types import MappingProxyType

import pytest
from raw_server import reply

from prefactor_http import (
    AgentVersionForRegister,
    HttpClientConfig,
    PrefactorHttpClient,
    SpanTypeSchemaForCreate,
)
from prefactor_http.endpoints import AgentInstanceClient
from prefactor_http.models import dicts
from prefactor_http.models.agent import AgentForCreate
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.models.data_risk import ActionProfile, DataCategories, DataRisk
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    QualitySchemaForCreate,
    RuntimeEnvironment,
)
from prefactor_http.testing import LocalPrefactor

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


@pytest.fixture
async def api():
    async with LocalPrefactor() as server:
        yield server


@pytest.fixture
async def client(api):
    async with PrefactorHttpClient(HttpClientConfig(api.url, api.deployment_token)) as client:
        yield client


@pytest.fixture
def warnings(caplog):
    def messages():
        return [record.getMessage() for record in caplog.records]

    caplog.set_level(logging.WARNING, "prefactor_http")
    return messages


@pytest.mark.parametrize(
    ("dictionary", "model"),
    [
        (dicts.RuntimeEnvironmentDict, RuntimeEnvironment),
        (dicts.AgentVersionDict, AgentVersionForRegister),
        (dicts.ActionProfileDict, ActionProfile),
        (dicts.DataCategoriesDict, DataCategories),
        (dicts.DataRiskDict, DataRisk),
        (dicts.SpanTypeSchemaDict, SpanTypeSchemaForCreate),
        (dicts.QualitySchemaDict, QualitySchemaForCreate),
        (dicts.AgentSchemaVersionDict, AgentSchemaVersionForRegister),
        (dicts.RowDict, RegisterAgentInstanceRequest),
    ],
)
def test_a_dict_has_the_keys_of_its_model_and_requires_the_same(dictionary, model):
    assert set(dictionary.__annotations__) == set(model.__struct_fields__)
    required = {
        name
        for name, parameter in inspect.signature(model).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    assert dictionary.__required_keys__ == required


def test_the_dict_of_a_register_has_what_register_run_and_register_many_have_in_common():
    accepted = [
        set(inspect.signature(call).parameters)
        for call in (
            AgentInstanceClient.register,
            AgentInstanceClient.run,
            AgentInstanceClient.register_many,
        )
    ]
    assert set(dicts.RegisterDict.__annotations__) | {"self"} == set.intersection(*accepted)
    assert set(dicts.RowDict.__annotations__) | {"self"} == accepted[0]


async def test_an_unknown_key_is_sent_and_logged_once_with_the_similar_name(raw_server, warnings):
    raw_server.answer = lambda _: reply(422, {"status": "error", "code": "validation_errors"})
    config = HttpClientConfig(raw_server.url, "token-1234")
    version = {**VERSION, "nmae": "Triage", "runtime_environment": {"runtme": "cpython"}}
    async with PrefactorHttpClient(config) as client:
        for _ in range(2):
            with pytest.raises(Exception, match="422"):
                await client.agent_instances.register(
                    agent_version=version, agent_schema_version=SCHEMA
                )
    assert raw_server.requests[0].json["agent_version"] == version
    assert [line for line in warnings() if "nmae" in line or "runtme" in line] == [
        f"{model} has no field {given!r}, which is sent unchanged: did you mean {meant!r}?"
        for model, given, meant in [
            ("AgentVersionForRegister", "nmae", "name"),
            ("RuntimeEnvironment", "runtme", "runtime"),
        ]
    ]


async def test_without_a_similar_name_the_log_line_lists_the_allowed_ones(client, warnings):
    await client.agent_instances.register(
        agent_version={**VERSION, "xyzzy": 1}, agent_schema_version=SCHEMA
    )
    (line,) = warnings()
    assert line == (
        "AgentVersionForRegister has no field 'xyzzy', which is sent unchanged: "
        "allowed are external_identifier, name, description, runtime_environment"
    )


async def test_span_types_and_their_data_risk_are_checked(client, warnings):
    span_type = {
        "name": "llm",
        "params_schema": {"type": "object", "not_checked": 1},
        "titel": "LLM",
        "data_risk": {"action_profle": {}},
    }
    await client.agent_instances.register(
        agent_version=VERSION,
        agent_schema_version={"external_identifier": "s2", "span_type_schemas": [span_type]},
    )
    assert [line.partition(",")[0] for line in warnings()] == [
        "SpanTypeSchemaForCreate has no field 'titel'",
        "DataRisk has no field 'action_profle'",
    ]


def test_a_dict_inside_a_model_is_checked_when_the_model_is_created(warnings):
    AgentVersionForRegister(runtime_environment={"operating": "linux"})
    assert "RuntimeEnvironment has no field 'operating'" in warnings()[0]


async def test_dicts_of_rows_and_shared_dicts_of_rows_are_checked(client, warnings):
    rows = [{"agent_version": {**VERSION, "naem": "row"}} for _ in range(3)]
    outcomes = client.agent_instances.register_many(
        rows, agent_schema_version={**SCHEMA, "span_types": []}
    )
    assert [outcome.ok async for outcome in outcomes] == [True] * 3
    assert [line.partition(",")[0] for line in warnings()] == [
        "AgentSchemaVersionForRegister has no field 'span_types'",
        "AgentVersionForRegister has no field 'naem'",
    ]


async def test_the_fields_of_other_resources_are_checked(api, warnings):
    async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
        agent = await client.agents.create(MappingProxyType({"name": "One", "descripton": "x"}))
        await client.agents.create(AgentForCreate(name="Two"))
    assert agent.name == "One"
    (line,) = warnings()
    assert line.startswith("AgentForCreate has no field 'descripton'")


async def test_mappings_are_accepted_like_dicts(api, client):
    version, schema = MappingProxyType(VERSION), MappingProxyType(SCHEMA)
    instances = client.agent_instances
    await instances.register(agent_version=version, agent_schema_version=schema)
    rows = [MappingProxyType({"external_identifier": "row-1"})]
    (outcome,) = [
        outcome
        async for outcome in instances.register_many(
            rows, agent_version=version, agent_schema_version=schema
        )
    ]
    assert outcome.instance.external_identifier == "row-1"
    assert len(api.instances) == 2


def test_generated_keys_do_not_fill_the_memory(warnings):
    for number in range(300):
        DataRisk(
            action_profile={f"generated_{number}": 1},
            params_data_categories={},
            result_data_categories={},
        )
    assert len(warnings()) == 100
