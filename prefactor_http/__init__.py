"""Async client of the Prefactor API whose writes are safe to repeat."""

from prefactor_http._bulk.outcome import Outcome
from prefactor_http._http.captured_response import CapturedResponse
from prefactor_http._version import __version__
from prefactor_http.client import PrefactorHttpClient
from prefactor_http.config import HttpClientConfig
from prefactor_http.events import Attempt
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorAuthError,
    PrefactorClientError,
    PrefactorConflictError,
    PrefactorConnectionError,
    PrefactorHttpError,
    PrefactorNotFoundError,
    PrefactorRateLimitError,
    PrefactorResponseContractError,
    PrefactorRetryExhaustedError,
    PrefactorTimeoutError,
    PrefactorValidationError,
)
from prefactor_http.models.agent_instance import (
    AgentInstance,
    AgentInstanceRecordQuality,
    AgentInstanceSpanCounts,
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    FinishInstanceRequest,
    QualitySchemaDetails,
    QualitySchemaForCreate,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
)
from prefactor_http.models.agent_span import AgentSpan
from prefactor_http.models.base import ApiResponse
from prefactor_http.models.bulk import BulkItem, BulkOutput, BulkRequest, BulkResponse
from prefactor_http.models.dicts import (
    ActionProfileDict,
    AgentSchemaVersionDict,
    AgentVersionDict,
    DataCategoriesDict,
    DataRiskDict,
    QualitySchemaDict,
    RegisterDict,
    RowDict,
    RuntimeEnvironmentDict,
    SpanTypeSchemaDict,
)
from prefactor_http.models.types import AgentStatus, FinishStatus, InstancePurpose

__all__ = [
    "ActionProfileDict",
    "AgentInstance",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentSchemaVersionDict",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentStatus",
    "AgentVersionDict",
    "AgentVersionForRegister",
    "ApiResponse",
    "Attempt",
    "BulkItem",
    "BulkOutput",
    "BulkRequest",
    "BulkResponse",
    "CapturedResponse",
    "DataCategoriesDict",
    "DataRiskDict",
    "FinishInstanceRequest",
    "FinishStatus",
    "HttpClientConfig",
    "InstancePurpose",
    "Outcome",
    "PrefactorApiError",
    "PrefactorAuthError",
    "PrefactorClientError",
    "PrefactorConflictError",
    "PrefactorConnectionError",
    "PrefactorHttpClient",
    "PrefactorHttpError",
    "PrefactorNotFoundError",
    "PrefactorRateLimitError",
    "PrefactorResponseContractError",
    "PrefactorRetryExhaustedError",
    "PrefactorTimeoutError",
    "PrefactorValidationError",
    "QualitySchemaDetails",
    "QualitySchemaDict",
    "QualitySchemaForCreate",
    "RegisterDict",
    "RowDict",
    "RuntimeEnvironment",
    "RuntimeEnvironmentDict",
    "SpanTypeSchemaDict",
    "SpanTypeSchemaForCreate",
    "__version__",
]
