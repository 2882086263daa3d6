"""Deployments: create, read, update and delete them."""

from __future__ import annotations

from collections.abc import Mapping

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, list_call
from prefactor_http.models.agent_deployment import (
    AgentDeployment,
    AgentDeploymentForCreate,
    AgentDeploymentForUpdate,
)
from prefactor_http.models.base import DetailsRequest


class AgentDeploymentClient(EndpointClient):
    """Calls on deployments (contract §12), available as `PrefactorHttpClient.agent_deployments`.

    The API documents no idempotency keys for the writes, so they are not repeated after an attempt
    with an unknown outcome. Every call raises `PrefactorHttpError` or one of its subclasses when it
    fails.
    """

    async def create(
        self, details: AgentDeploymentForCreate | Mapping[str, object]
    ) -> AgentDeployment:
        """Deploy an agent in an environment: ``POST /agent_deployment`` (contract §12).

        If the error has ``outcome_unknown``, look for the environment in
        ``list(agent_id)``: there is at most one deployment per agent and environment. With an
        ``id`` of your own, read the deployment with `get` instead.

        Args:
            details: The fields. A dict is sent unchanged.

        Returns:
            The new deployment.

        Raises:
            TypeError: ``details`` is neither an ``AgentDeploymentForCreate`` nor a dict.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.CREATE_DEPLOYMENT,
            DetailsRequest(details=resource_fields(details, "details", AgentDeploymentForCreate)),
        )

    async def get(self, agent_deployment_id: str) -> AgentDeployment:
        """Read a deployment: ``GET /agent_deployment/{id}`` (contract §12).

        Args:
            agent_deployment_id: Id of the deployment.

        Returns:
            The deployment.

        Raises:
            PrefactorNotFoundError: The deployment does not exist.
        """
        return await self._executor.send(_api.GET_DEPLOYMENT, None, agent_deployment_id)

    def list(
        self,
        agent_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[AgentDeployment]:
        """List deployments: ``GET /agent_deployment`` (contract §2, §12).

        Args:
            agent_id: Only deployments of this agent.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"agent_id": agent_id}
        return list_call(self._executor, _api.LIST_DEPLOYMENTS, filters, sorting, offset, page_size)

    async def update(
        self, agent_deployment_id: str, details: AgentDeploymentForUpdate | Mapping[str, object]
    ) -> AgentDeployment:
        """Pin another agent version, or none: ``PUT /agent_deployment/{id}`` (contract §12).

        If the error has ``outcome_unknown``, compare ``current_version_id`` of `get` and update
        again if the change is missing.

        Args:
            agent_deployment_id: Id of the deployment.
            details: The changes. ``AgentDeploymentForUpdate(current_version_id=None)`` removes the
                pin. A dict is sent unchanged.

        Returns:
            The updated deployment.

        Raises:
            TypeError: ``details`` is neither an ``AgentDeploymentForUpdate`` nor a dict.
            PrefactorNotFoundError: The deployment does not exist.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.UPDATE_DEPLOYMENT,
            DetailsRequest(details=resource_fields(details, "details", AgentDeploymentForUpdate)),
            agent_deployment_id,
        )

    async def delete(self, agent_deployment_id: str) -> None:
        """Delete a deployment: ``DELETE /agent_deployment/{id}`` (contract §12).

        If the error has ``outcome_unknown``, call `get`: `PrefactorNotFoundError` means that the
        deployment is deleted.

        Args:
            agent_deployment_id: Id of the deployment.

        Raises:
            PrefactorNotFoundError: The deployment does not exist.
        """
        await self._executor.send(_api.DELETE_DEPLOYMENT, None, agent_deployment_id)


__all__ = ["AgentDeploymentClient"]
