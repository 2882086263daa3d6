"""Clients of the API, one for each resource."""

from prefactor_http.endpoints.agent_instance import AgentInstanceClient

__all__ = ["AgentInstanceClient"]
