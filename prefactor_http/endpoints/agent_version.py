"""Agent versions and schema versions: read what registering made."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import Page, list_page
from prefactor_http.models.agent_version import AgentSchemaVersion, AgentVersion


class AgentVersionClient(EndpointClient):
    """Reads of agent versions (contract §12); `PrefactorHttpClient.agent_versions` is one.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def get(self, agent_version_id: str) -> AgentVersion:
        """Read one: ``GET /agent_version/{id}`` (contract §12).

        Args:
            agent_version_id: The agent version.

        Returns:
            The agent version.
        """
        return await self._executor.send(_api.GET_VERSION, None, agent_version_id)

    async def list(
        self,
        agent_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[AgentVersion]:
        """List them: ``GET /agent_version`` (contract §2, §12).

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
            self._executor, _api.LIST_VERSIONS, filters, sorting, offset, page_size
        )


class AgentSchemaVersionClient(EndpointClient):
    """Reads of schema versions (contract §12); `PrefactorHttpClient.agent_schema_versions` is one.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def get(self, agent_schema_version_id: str) -> AgentSchemaVersion:
        """Read one: ``GET /agent_schema_version/{id}`` (contract §12).

        Args:
            agent_schema_version_id: The schema version.

        Returns:
            The schema version.
        """
        return await self._executor.send(_api.GET_SCHEMA_VERSION, None, agent_schema_version_id)

    async def list(
        self,
        agent_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[AgentSchemaVersion]:
        """List them: ``GET /agent_schema_version`` (contract §2, §12).

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
            self._executor, _api.LIST_SCHEMA_VERSIONS, filters, sorting, offset, page_size
        )


__all__ = ["AgentSchemaVersionClient", "AgentVersionClient"]
