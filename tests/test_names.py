"""Names and signatures of release 0.4.3 stay valid; ``dir(client)`` shows only what users need.

``models/test_model_names.py`` checks the keywords of the models.
"""

import dataclasses
import importlib
import inspect
import pkgutil
from typing import get_args

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient

# The exported names of each module.
MODULES = {
    "": """
        AgentInstance AgentInstanceRecordQuality AgentInstanceSpanCounts
        AgentSchemaVersionForRegister AgentSpan AgentStatus AgentVersionForRegister ApiResponse
        BulkItem BulkOutput BulkRequest BulkResponse FinishInstanceRequest FinishStatus
        HttpClientConfig InstancePurpose PrefactorApiError PrefactorAuthError PrefactorClientError
        PrefactorHttpClient PrefactorHttpError PrefactorNotFoundError
        PrefactorResponseContractError PrefactorRetryExhaustedError PrefactorValidationError
        QualitySchemaDetails QualitySchemaForCreate RuntimeEnvironment SpanTypeSchemaForCreate
        __version__
    """,
    "_version": "PACKAGE_NAME PACKAGE_VERSION",
    "client": "DEFAULT_SDK_HEADER PACKAGE_NAME PACKAGE_VERSION PrefactorHttpClient",
    "config": "HttpClientConfig",
    "endpoints": "AgentClient AgentInstanceClient AgentSpanClient BulkClient",
    "endpoints.agent": "AgentClient",
    "endpoints.agent_instance": "AgentInstanceClient",
    "endpoints.agent_span": "AgentSpanClient",
    "endpoints.bulk": "BulkClient",
    "exceptions": """
        PrefactorApiError PrefactorAuthError PrefactorClientError PrefactorHttpError
        PrefactorNotFoundError PrefactorResponseContractError PrefactorRetryExhaustedError
        PrefactorValidationError is_permanent_http_error is_transient_http_error
    """,
    "models": """
        ActionProfile Agent AgentAvailableActions AgentForCreate AgentForUpdate AgentInstance
        AgentInstanceCounts AgentInstanceRecordQuality AgentInstanceSpanCounts
        AgentSchemaVersionForRegister AgentSpan AgentStatus AgentSummary AgentVersionForRegister
        ApiResponse BulkItem BulkOutput BulkRequest BulkResponse DataCategories DataRisk
        FinishInstanceRequest FinishStatus InstancePurpose QualitySchemaDetails
        QualitySchemaForCreate RuntimeEnvironment SpanTypeSchemaForCreate
    """,
    "models.agent": """
        Agent AgentAvailableActions AgentForCreate AgentForUpdate AgentInstanceCounts AgentSummary
    """,
    "models.agent_instance": """
        ActionProfile AgentInstance AgentInstanceRecordQuality AgentInstanceSpanCounts
        AgentSchemaVersionForRegister AgentVersionForRegister DataCategories DataRisk
        FinishInstanceRequest QualitySchemaDetails QualitySchemaForCreate
        RegisterAgentInstanceRequest RuntimeEnvironment SpanTypeSchemaForCreate TimestampRequest
    """,
    "models.agent_span": "AgentSpan CreateAgentSpanRequest FinishSpanRequest",
    "models.base": """
        ApiError ApiResponse DetailedApiError ListResponse PaginationOutput Sorting
    """,
    "models.bulk": "BulkItem BulkOutput BulkRequest BulkResponse",
    "models.types": "AgentStatus FinishStatus InstancePurpose",
}

# Parameters: `=` marks optional ones, `*` keyword-only ones after it.
CALLS = {
    "client:PrefactorHttpClient": "config sdk_header=",
    "client:PrefactorHttpClient.close": "self",
    "client:PrefactorHttpClient.validate_token": "self",
    "client:PrefactorHttpClient.request": (
        "self method path * params= json_data= idempotency_key="
    ),
    "config:HttpClientConfig": (
        "api_url api_token request_timeout= connect_timeout= max_retries= initial_retry_delay= "
        "max_retry_delay= retry_multiplier= retry_on_status_codes= default_idempotency_key="
    ),
    "endpoints.agent:AgentClient": "http_client",
    "endpoints.agent:AgentClient.create": "self details idempotency_key=",
    "endpoints.agent:AgentClient.get": "self agent_id",
    "endpoints.agent:AgentClient.update": "self agent_id details idempotency_key=",
    "endpoints.agent:AgentClient.list_agents": (
        "self risk_profile_id= team_id= owner_person_id= sorting= offset= page_size="
    ),
    "endpoints.agent:AgentClient.show": (
        "self * agent_id= external_identifier= environment_id= include_counts= include_risk_rollup="
    ),
    "endpoints.agent:AgentClient.retire": "self agent_id idempotency_key=",
    "endpoints.agent:AgentClient.reinstate": "self agent_id idempotency_key=",
    "endpoints.agent:AgentClient.delete": "self agent_id idempotency_key=",
    "endpoints.agent_instance:AgentInstanceClient": "http_client",
    # Only the keywords: the positions changed, as README and CHANGELOG say.
    "endpoints.agent_instance:AgentInstanceClient.register": (
        "self * agent_version agent_schema_version agent_id= environment_id= id= "
        "idempotency_key= update_current_version= purpose= external_identifier="
    ),
    "endpoints.agent_instance:AgentInstanceClient.start": (
        "self agent_instance_id timestamp= idempotency_key="
    ),
    "endpoints.agent_instance:AgentInstanceClient.finish": (
        "self agent_instance_id status= timestamp= idempotency_key="
    ),
    "endpoints.agent_instance:AgentInstanceClient.get": "self agent_instance_id",
    "endpoints.agent_instance:AgentInstanceClient.record_quality": (
        "self agent_instance_id name payload= idempotency_key="
    ),
    "endpoints.agent_span:AgentSpanClient": "http_client",
    "endpoints.agent_span:AgentSpanClient.create": (
        "self agent_instance_id schema_name status payload= result_payload= id= parent_span_id= "
        "started_at= finished_at= idempotency_key= control_signal_callback="
    ),
    "endpoints.agent_span:AgentSpanClient.finish": (
        "self agent_span_id status= result_payload= timestamp= idempotency_key= "
        "control_signal_callback="
    ),
    "endpoints.bulk:BulkClient": "http_client",
    "endpoints.bulk:BulkClient.execute": "self request",
    "exceptions:PrefactorApiError": "message code status_code",
    "exceptions:PrefactorAuthError": "message code status_code",
    "exceptions:PrefactorNotFoundError": "message code status_code",
    "exceptions:PrefactorValidationError": "message code status_code errors",
    "exceptions:PrefactorRetryExhaustedError": "message last_error=",
    "exceptions:PrefactorResponseContractError": "message * status_code= body_snippet= cause=",
    "exceptions:is_transient_http_error": "error",
    "exceptions:is_permanent_http_error": "error",
}

DEFAULTS = {
    "request_timeout": 30.0,
    "connect_timeout": 10.0,
    "max_retries": 3,
    "initial_retry_delay": 1.0,
    "max_retry_delay": 60.0,
    "retry_multiplier": 2.0,
    "default_idempotency_key": None,
}

PARENTS = {
    "PrefactorApiError": "PrefactorHttpError",
    "PrefactorAuthError": "PrefactorApiError",
    "PrefactorClientError": "PrefactorHttpError",
    "PrefactorNotFoundError": "PrefactorApiError",
    "PrefactorResponseContractError": "PrefactorHttpError",
    "PrefactorRetryExhaustedError": "PrefactorHttpError",
    "PrefactorValidationError": "PrefactorApiError",
}

CONTENT = {
    "AgentStatus": {"pending", "active", "complete", "failed", "cancelled", "terminated"},
    "FinishStatus": {"complete", "failed", "cancelled"},
    "InstancePurpose": {"live", "smoke_test", "eval"},
}


def module(name):
    return importlib.import_module(f"prefactor_http.{name}".rstrip("."))


def resolved(path):
    """Resolve ``module:Name`` or ``module:Class.method``."""
    return pkgutil.resolve_name(f"prefactor_http.{path}")


@pytest.mark.parametrize(
    ("name", "exported"), [(m, n) for m, names in MODULES.items() for n in names.split()]
)
def test_a_name_can_be_imported_from_its_old_path(name, exported):
    assert getattr(module(name), exported) is not None


@pytest.mark.parametrize("path", CALLS)
def test_a_call_accepts_its_old_arguments(path):
    words = CALLS[path].split()
    by_position = words[: words.index("*")] if "*" in words else words
    keywords = [word.rstrip("=") for word in words if word not in {"*", "self"}]
    required = [word for word in words if word not in {"*", "self"} and not word.endswith("=")]
    bound_to = ["instance"] if words[0] == "self" else []

    signature = inspect.signature(resolved(path))
    signature.bind(*bound_to, **dict.fromkeys(keywords))
    signature.bind(*bound_to, **dict.fromkeys(required))
    signature.bind(*by_position)
    names = list(signature.parameters)[: len(by_position)]
    assert names == [word.rstrip("=") for word in by_position]


@pytest.mark.parametrize("path", [path for path, call in CALLS.items() if "self" in call])
def test_a_method_is_still_a_coroutine_function(path):
    assert inspect.iscoroutinefunction(resolved(path))


@pytest.mark.parametrize(
    ("attribute", "path"),
    {
        "agents": "endpoints.agent:AgentClient",
        "agent_instances": "endpoints.agent_instance:AgentInstanceClient",
        "agent_spans": "endpoints.agent_span:AgentSpanClient",
        "bulk": "endpoints.bulk:BulkClient",
    }.items(),
)
def test_the_client_has_the_endpoints_under_their_old_names(attribute, path):
    client = PrefactorHttpClient(HttpClientConfig("http://localhost", "token"), sdk_header="a@1")
    assert isinstance(getattr(client, attribute), resolved(path))


def test_adapters_can_set_the_sdk_header_after_construction():
    client = PrefactorHttpClient(HttpClientConfig("http://localhost", "token"))
    client._sdk_header = "adapter@1"
    assert client._sdk_header == "adapter@1"


def test_the_configuration_keeps_its_defaults():
    fields = {field.name: field.default for field in dataclasses.fields(HttpClientConfig)}
    assert {name: fields[name] for name in DEFAULTS} == DEFAULTS
    assert set(fields["retry_on_status_codes"]) >= {429, 500, 502, 503, 504}


@pytest.mark.parametrize("name", PARENTS)
def test_an_error_keeps_its_base_class(name):
    exceptions = module("exceptions")
    assert issubclass(getattr(exceptions, name), getattr(exceptions, PARENTS[name]))


@pytest.mark.parametrize("name", CONTENT)
def test_an_enum_keeps_its_values(name):
    assert set(get_args(getattr(module("models.types"), name))) >= CONTENT[name]


def test_the_package_has_its_name_and_version():
    version = module("_version")
    assert version.PACKAGE_NAME == "prefactor-http"
    assert module("").__version__ == version.PACKAGE_VERSION


def test_the_client_shows_only_what_users_need():
    client = PrefactorHttpClient(HttpClientConfig("http://localhost", "token"))
    assert [name for name in dir(client) if not name.startswith("_")] == [
        "accounts",
        "agent_deployments",
        "agent_instances",
        "agent_schema_versions",
        "agent_spans",
        "agent_versions",
        "agents",
        "alerts",
        "api_tokens",
        "batched",
        "bulk",
        "capture_responses",
        "close",
        "config",
        "environments",
        "pfid",
        "request",
        "risk_profiles",
        "validate_token",
        "with_options",
    ]
