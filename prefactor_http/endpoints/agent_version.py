"""Agent versions and schema versions: create and read them."""

from __future__ import annotations

from collections.abc import Mapping

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, list_call
from prefactor_http.models.agent_version import (
    AgentSchemaVersion,
    AgentSchemaVersionForCreate,
    AgentVersion,
    AgentVersionForCreate,
)
from prefactor_http.models.base import DetailsRequest


class AgentVersionClient(EndpointClient):
    """Calls on agent versions (contract §12), available as `PrefactorHttpClient.agent_versions`.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def create(self, details: AgentVersionForCreate | Mapping[str, object]) -> AgentVersion:
        """Create an agent version: ``POST /agent_version`` (contract §12).

        Registering an instance creates its version, so this call is rarely needed. The API
        documents no idempotency key for it, so it is not repeated after an attempt with an unknown
        outcome. If the error has ``outcome_unknown``, look for the ``external_identifier`` in
        ``list(agent_id)`` before creating it again.

        Args:
            details: The fields. A dict is sent unchanged.

        Returns:
            The new agent version.

        Raises:
            TypeError: ``details`` is neither an ``AgentVersionForCreate`` nor a dict.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.CREATE_VERSION,
            DetailsRequest(details=resource_fields(details, "details", AgentVersionForCreate)),
        )

    async def get(self, agent_version_id: str) -> AgentVersion:
        """Read an agent version: ``GET /agent_version/{id}`` (contract §12).

        Args:
            agent_version_id: Id of the agent version.

        Returns:
            The agent version.

        Raises:
            PrefactorNotFoundError: The agent version does not exist.
        """
        return await self._executor.send(_api.GET_VERSION, None, agent_version_id)

    def list(
        self,
        agent_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[AgentVersion]:
        """List agent versions: ``GET /agent_version`` (contract §2, §12).

        Args:
            agent_id: Only versions of this agent.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"agent_id": agent_id}
        return list_call(self._executor, _api.LIST_VERSIONS, filters, sorting, offset, page_size)


class AgentSchemaVersionClient(EndpointClient):
    """Calls on schema versions (contract §12), as `PrefactorHttpClient.agent_schema_versions`.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def create(
        self, details: AgentSchemaVersionForCreate | Mapping[str, object]
    ) -> AgentSchemaVersion:
        """Create a schema version: ``POST /agent_schema_version`` (contract §12).

        Registering an instance creates its schema version, so this call is rarely needed. The API
        documents no idempotency key for it, so it is not repeated after an attempt with an unknown
        outcome. If the error has ``outcome_unknown``, look for the ``external_identifier`` in
        ``list(agent_id)`` before creating it again.

        Args:
            details: The fields. A dict is sent unchanged.

        Returns:
            The new schema version.

        Raises:
            TypeError: ``details`` is neither an ``AgentSchemaVersionForCreate`` nor a dict.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.CREATE_SCHEMA_VERSION,
            DetailsRequest(
                details=resource_fields(details, "details", AgentSchemaVersionForCreate)
            ),
        )

    async def get(self, agent_schema_version_id: str) -> AgentSchemaVersion:
        """Read a schema version: ``GET /agent_schema_version/{id}`` (contract §12).

        Args:
            agent_schema_version_id: Id of the schema version.

        Returns:
            The schema version.

        Raises:
            PrefactorNotFoundError: The schema version does not exist.
        """
        return await self._executor.send(_api.GET_SCHEMA_VERSION, None, agent_schema_version_id)

    def list(
        self,
        agent_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[AgentSchemaVersion]:
        """List schema versions: ``GET /agent_schema_version`` (contract §2, §12).

        Args:
            agent_id: Only schema versions of this agent.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"agent_id": agent_id}
        return list_call(
            self._executor, _api.LIST_SCHEMA_VERSIONS, filters, sorting, offset, page_size
        )


__all__ = ["AgentSchemaVersionClient", "AgentVersionClient"]
