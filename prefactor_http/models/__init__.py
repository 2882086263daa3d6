"""Requests and responses of the API as msgspec Structs.

In requests, a field that is left out is not sent, and None is sent as null. In responses, unknown
fields are ignored and unknown enum values are accepted.
"""

from prefactor_http.models.account import Account, AccountForUpdate, AccountListResponse
from prefactor_http.models.agent import (
    Agent,
    AgentAvailableActions,
    AgentForCreate,
    AgentForUpdate,
    AgentInstanceCounts,
    AgentSummary,
)
from prefactor_http.models.agent_deployment import (
    AgentDeployment,
    AgentDeploymentForCreate,
    AgentDeploymentForUpdate,
)
from prefactor_http.models.agent_instance import (
    AgentContext,
    AgentContextResponse,
    AgentInstance,
    AgentInstanceForUpdate,
    AgentInstanceRecordQuality,
    AgentInstanceSpanCounts,
    AgentInstanceSummary,
    FinishInstanceRequest,
    RegisterAgentInstanceRequest,
    TerminateInstanceRequest,
    TimestampRequest,
)
from prefactor_http.models.agent_span import (
    AgentSpan,
    AgentSpanReply,
    CreateAgentSpanRequest,
    CreateTestSpansRequest,
    CreateTestSpansResponse,
    FinishSpanRequest,
)
from prefactor_http.models.agent_version import (
    AgentSchemaVersion,
    AgentSchemaVersionForCreate,
    AgentVersion,
    AgentVersionForCreate,
    SpanTypeSchemaDetails,
)
from prefactor_http.models.alerts import AlertCount
from prefactor_http.models.api_token import ApiToken, ApiTokenForCreate, CreatedApiToken
from prefactor_http.models.base import (
    ActionRequest,
    ApiError,
    ApiResponse,
    Control,
    DetailedApiError,
    DetailsRequest,
    ListResponse,
    PaginationOutput,
    Sorting,
)
from prefactor_http.models.bulk import BulkItem, BulkReply, BulkRequest, BulkResponse
from prefactor_http.models.bulk_output import BulkOutput, OutputReader, ReceivedOutput
from prefactor_http.models.data_risk import ActionProfile, DataCategories, DataRisk
from prefactor_http.models.environment import (
    Environment,
    EnvironmentForCreate,
    EnvironmentForUpdate,
)
from prefactor_http.models.pfid import GeneratedPfids, GeneratePfidsRequest
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    QualitySchemaDetails,
    QualitySchemaForCreate,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
)
from prefactor_http.models.risk_profile import RiskProfile
from prefactor_http.models.types import (
    ActionPermission,
    AgentStatus,
    DataClassification,
    DataPresence,
    EnvironmentPurpose,
    FinishStatus,
    InstancePurpose,
    SpanStatus,
    TokenScope,
)

__all__ = [
    "Account",
    "AccountForUpdate",
    "AccountListResponse",
    "ActionPermission",
    "ActionProfile",
    "ActionRequest",
    "Agent",
    "AgentAvailableActions",
    "AgentContext",
    "AgentContextResponse",
    "AgentDeployment",
    "AgentDeploymentForCreate",
    "AgentDeploymentForUpdate",
    "AgentForCreate",
    "AgentForUpdate",
    "AgentInstance",
    "AgentInstanceCounts",
    "AgentInstanceForUpdate",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentInstanceSummary",
    "AgentSchemaVersion",
    "AgentSchemaVersionForCreate",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentSpanReply",
    "AgentStatus",
    "AgentSummary",
    "AgentVersion",
    "AgentVersionForCreate",
    "AgentVersionForRegister",
    "AlertCount",
    "ApiError",
    "ApiResponse",
    "ApiToken",
    "ApiTokenForCreate",
    "BulkItem",
    "BulkOutput",
    "BulkReply",
    "BulkRequest",
    "BulkResponse",
    "Control",
    "CreateAgentSpanRequest",
    "CreateTestSpansRequest",
    "CreateTestSpansResponse",
    "CreatedApiToken",
    "DataCategories",
    "DataClassification",
    "DataPresence",
    "DataRisk",
    "DetailedApiError",
    "DetailsRequest",
    "Environment",
    "EnvironmentForCreate",
    "EnvironmentForUpdate",
    "EnvironmentPurpose",
    "FinishInstanceRequest",
    "FinishSpanRequest",
    "FinishStatus",
    "GeneratePfidsRequest",
    "GeneratedPfids",
    "InstancePurpose",
    "ListResponse",
    "OutputReader",
    "PaginationOutput",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "ReceivedOutput",
    "RegisterAgentInstanceRequest",
    "RiskProfile",
    "RuntimeEnvironment",
    "Sorting",
    "SpanStatus",
    "SpanTypeSchemaDetails",
    "SpanTypeSchemaForCreate",
    "TerminateInstanceRequest",
    "TimestampRequest",
    "TokenScope",
]
