"""Clients of the API, one for each resource."""

from prefactor_http.endpoints.account import AccountClient
from prefactor_http.endpoints.agent import AgentClient
from prefactor_http.endpoints.agent_deployment import AgentDeploymentClient
from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.agent_span import AgentSpanClient
from prefactor_http.endpoints.agent_version import AgentSchemaVersionClient, AgentVersionClient
from prefactor_http.endpoints.bulk import BulkClient
from prefactor_http.endpoints.environment import EnvironmentClient

__all__ = [
    "AccountClient",
    "AgentClient",
    "AgentDeploymentClient",
    "AgentInstanceClient",
    "AgentSchemaVersionClient",
    "AgentSpanClient",
    "AgentVersionClient",
    "BulkClient",
    "EnvironmentClient",
]
