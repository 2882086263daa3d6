"""Deployments: read which agents run in which environments."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import Page, list_page
from prefactor_http.models.agent_deployment import AgentDeployment


class AgentDeploymentClient(EndpointClient):
    """Reads of deployments (contract §12); `PrefactorHttpClient.agent_deployments` is one.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def get(self, agent_deployment_id: str) -> AgentDeployment:
        """Read one: ``GET /agent_deployment/{id}`` (contract §12).

        Args:
            agent_deployment_id: The deployment.

        Returns:
            The deployment.
        """
        return await self._executor.send(_api.GET_DEPLOYMENT, None, agent_deployment_id)

    async def list(
        self,
        agent_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[AgentDeployment]:
        """List them: ``GET /agent_deployment`` (contract §2, §12).

        Args:
            agent_id: Only those of this agent.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Items to skip, from 0.
            page_size: Items on a page, 1 to 100; 50 by default.

        Returns:
            The page; ``async for`` over it goes through all later pages too.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"agent_id": agent_id}
        return await list_page(
            self._executor, _api.LIST_DEPLOYMENTS, filters, sorting, offset, page_size
        )


__all__ = ["AgentDeploymentClient"]
