"""The endpoint classes: one per resource, one method per operation."""

from prefactor_http.endpoints.account import AccountClient
from prefactor_http.endpoints.agent import AgentClient
from prefactor_http.endpoints.agent_deployment import AgentDeploymentClient
from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.agent_span import AgentSpanClient
from prefactor_http.endpoints.agent_version import AgentSchemaVersionClient, AgentVersionClient
from prefactor_http.endpoints.alerts import AlertClient
from prefactor_http.endpoints.api_token import ApiTokenClient
from prefactor_http.endpoints.bulk import BulkClient
from prefactor_http.endpoints.environment import EnvironmentClient
from prefactor_http.endpoints.pfid import PfidClient
from prefactor_http.endpoints.risk_profile import RiskProfileClient

__all__ = [
    "AccountClient",
    "AgentClient",
    "AgentDeploymentClient",
    "AgentInstanceClient",
    "AgentSchemaVersionClient",
    "AgentSpanClient",
    "AgentVersionClient",
    "AlertClient",
    "ApiTokenClient",
    "BulkClient",
    "EnvironmentClient",
    "PfidClient",
    "RiskProfileClient",
]
