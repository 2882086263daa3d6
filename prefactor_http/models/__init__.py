"""Models of what the API takes and gives, as msgspec Structs.

In requests, a field that is left out is not sent, and None is sent as null. In replies, fields and
values that are not known here are let through.
"""

from prefactor_http.models.account import Account
from prefactor_http.models.agent import (
    Agent,
    AgentAvailableActions,
    AgentForCreate,
    AgentForUpdate,
    AgentInstanceCounts,
    AgentSummary,
)
from prefactor_http.models.agent_deployment import AgentDeployment
from prefactor_http.models.agent_instance import (
    AgentInstance,
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
    FinishSpanRequest,
)
from prefactor_http.models.agent_version import (
    AgentSchemaVersion,
    AgentVersion,
    SpanTypeSchemaDetails,
)
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
from prefactor_http.models.environment import Environment
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
    QualitySchemaDetails,
    QualitySchemaForCreate,
    RuntimeEnvironment,
    SpanTypeSchemaForCreate,
)
from prefactor_http.models.types import (
    ActionPermission,
    AgentStatus,
    DataClassification,
    DataPresence,
    FinishStatus,
    InstancePurpose,
    SpanStatus,
)

__all__ = [
    "Account",
    "ActionPermission",
    "ActionProfile",
    "ActionRequest",
    "Agent",
    "AgentAvailableActions",
    "AgentDeployment",
    "AgentForCreate",
    "AgentForUpdate",
    "AgentInstance",
    "AgentInstanceCounts",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentInstanceSummary",
    "AgentSchemaVersion",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentSpanReply",
    "AgentStatus",
    "AgentSummary",
    "AgentVersion",
    "AgentVersionForRegister",
    "ApiError",
    "ApiResponse",
    "BulkItem",
    "BulkOutput",
    "BulkReply",
    "BulkRequest",
    "BulkResponse",
    "Control",
    "CreateAgentSpanRequest",
    "DataCategories",
    "DataClassification",
    "DataPresence",
    "DataRisk",
    "DetailedApiError",
    "DetailsRequest",
    "Environment",
    "FinishInstanceRequest",
    "FinishSpanRequest",
    "FinishStatus",
    "InstancePurpose",
    "ListResponse",
    "OutputReader",
    "PaginationOutput",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "ReceivedOutput",
    "RegisterAgentInstanceRequest",
    "RuntimeEnvironment",
    "Sorting",
    "SpanStatus",
    "SpanTypeSchemaDetails",
    "SpanTypeSchemaForCreate",
    "TerminateInstanceRequest",
    "TimestampRequest",
]
