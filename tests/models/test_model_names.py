"""Code written for releases before 1.0 finds each model, by its path and its keywords."""

import importlib
import inspect

import pytest

from prefactor_http import models

MODELS_BEFORE_1_0 = {
    "agent.Agent": (
        "type id name description external_identifier status owner_person_id risk_profile_id "
        "team_id instance_counts available_actions inserted_at updated_at"
    ),
    "agent.AgentAvailableActions": "update retire reinstate delete",
    "agent.AgentForCreate": (
        "name description external_identifier id owner_person_id risk_profile_id team_id"
    ),
    "agent.AgentForUpdate": "name description owner_person_id risk_profile_id team_id",
    "agent.AgentInstanceCounts": (
        "total pending active complete failed cancelled terminated finished"
    ),
    "agent.AgentSummary": (
        "type id name description external_identifier status owner_person_id team_id "
        "available_actions inserted_at updated_at"
    ),
    "agent_instance.ActionProfile": (
        "create_data read_data update_data destroy_data financial_transactions "
        "external_communication"
    ),
    "agent_instance.AgentInstance": (
        "type id account_id agent_id agent_version_id environment_id agent_deployment_id status "
        "inserted_at updated_at started_at finished_at termination_reason external_identifier "
        "span_counts purpose quality_payloads quality_summaries"
    ),
    "agent_instance.AgentInstanceRecordQuality": "name payload",
    "agent_instance.AgentInstanceSpanCounts": "total active complete failed cancelled finished",
    "agent_instance.AgentSchemaVersionForRegister": (
        "external_identifier span_schemas span_result_schemas span_type_schemas quality_schemas"
    ),
    "agent_instance.AgentVersionForRegister": (
        "name external_identifier description runtime_environment"
    ),
    "agent_instance.DataCategories": (
        "personal_identifiers contact_information financial_information health_and_medical "
        "criminal_justice authentication_and_secrets organisational_confidential minors_data "
        "location_and_tracking behavioural_and_inferred gdpr_racial_or_ethnic_origin "
        "gdpr_political_opinions gdpr_religious_or_philosophical_beliefs "
        "gdpr_trade_union_membership gdpr_genetic_data gdpr_biometric_for_identification "
        "gdpr_sex_life_or_sexual_orientation classification"
    ),
    "agent_instance.DataRisk": "action_profile params_data_categories result_data_categories",
    "agent_instance.FinishInstanceRequest": "status timestamp idempotency_key",
    "agent_instance.QualitySchemaDetails": (
        "name title description template data_risk schema schema_validation"
    ),
    "agent_instance.QualitySchemaForCreate": "name schema title description template data_risk",
    "agent_instance.RegisterAgentInstanceRequest": (
        "agent_id environment_id agent_version agent_schema_version id external_identifier "
        "idempotency_key update_current_version purpose"
    ),
    "agent_instance.RuntimeEnvironment": "agent_sdk os prefactor_sdk runtime",
    "agent_instance.SpanTypeSchemaForCreate": (
        "name params_schema result_schema title description template data_risk"
    ),
    "agent_instance.TimestampRequest": "timestamp idempotency_key",
    "agent_span.AgentSpan": (
        "type id account_id agent_id agent_instance_id parent_span_id schema_name schema_title "
        "status payload result_payload summary started_at inserted_at updated_at finished_at"
    ),
    "agent_span.CreateAgentSpanRequest": (
        "agent_instance_id schema_name status payload result_payload id parent_span_id started_at "
        "finished_at idempotency_key"
    ),
    "agent_span.FinishSpanRequest": "status result_payload timestamp idempotency_key",
    "base.ApiError": "status code message",
    "base.ApiResponse": "status details",
    "base.DetailedApiError": "status code message errors",
    "base.ListResponse": "status summaries pagination sorting",
    "base.PaginationOutput": (
        "item_count item_end item_start next_page_offset page_count page_index page_offset "
        "page_size previous_page_offset"
    ),
    "base.Sorting": "field direction",
    "bulk.BulkItem": "_type idempotency_key",
    "bulk.BulkOutput": "status",
    "bulk.BulkRequest": "items",
    "bulk.BulkResponse": "status outputs",
}

NAMES_BEFORE_1_0 = {
    "ActionProfile",
    "Agent",
    "AgentAvailableActions",
    "AgentForCreate",
    "AgentForUpdate",
    "AgentInstance",
    "AgentInstanceCounts",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentStatus",
    "AgentSummary",
    "AgentVersionForRegister",
    "ApiResponse",
    "BulkItem",
    "BulkOutput",
    "BulkRequest",
    "BulkResponse",
    "DataCategories",
    "DataRisk",
    "FinishInstanceRequest",
    "FinishStatus",
    "InstancePurpose",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "RuntimeEnvironment",
    "SpanTypeSchemaForCreate",
}


@pytest.mark.parametrize("name", MODELS_BEFORE_1_0)
def test_a_model_takes_the_keywords_it_always_took(name):
    module, _, model = name.partition(".")
    found = getattr(importlib.import_module(f"prefactor_http.models.{module}"), model)
    known = {
        parameter.name for parameter in inspect.signature(found.__init__).parameters.values()
    } | set(getattr(found, "__struct_fields__", ()))
    assert set(MODELS_BEFORE_1_0[name].split()) <= known


def test_the_package_of_models_names_all_that_it_named():
    assert set(models.__all__) >= NAMES_BEFORE_1_0


def test_every_name_is_there_once_and_in_order():
    assert models.__all__ == sorted(set(models.__all__))
    for name in models.__all__:
        assert getattr(models, name)
