"""Agents: create, read, update, retire and delete them."""

from __future__ import annotations

from collections.abc import Mapping

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields, text
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, Page, list_call
from prefactor_http.models.agent import Agent, AgentForCreate, AgentForUpdate, AgentSummary
from prefactor_http.models.base import ActionRequest, DetailsRequest


class AgentClient(EndpointClient):
    """Calls on agents (contract §11), available as `PrefactorHttpClient.agents`.

    Every write takes an ``idempotency_key`` (1 to 64 printable ASCII characters, no spaces), or
    creates one. Every call raises `PrefactorHttpError` or one of its subclasses when it fails;
    `PrefactorNotFoundError` means that the agent does not exist.
    """

    async def create(
        self, details: AgentForCreate | Mapping[str, object], idempotency_key: str | None = None
    ) -> Agent:
        """Create an agent: ``POST /agent`` (contract §11).

        Args:
            details: The fields. A dict is sent unchanged.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The new agent.

        Raises:
            TypeError: ``details`` is neither an ``AgentForCreate`` nor a dict.
            ValueError: The idempotency key is not allowed.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.CREATE_AGENT,
            DetailsRequest(
                details=resource_fields(details, "details", AgentForCreate),
                idempotency_key=self._executor.key(idempotency_key),
            ),
        )

    async def get(self, agent_id: str) -> Agent:
        """Read an agent: ``GET /agent/{id}`` (contract §11).

        Args:
            agent_id: Id of the agent.

        Returns:
            The agent.

        Raises:
            PrefactorNotFoundError: There is no such agent.
        """
        return await self._executor.send(_api.GET_AGENT, None, agent_id)

    async def update(
        self,
        agent_id: str,
        details: AgentForUpdate | Mapping[str, object],
        idempotency_key: str | None = None,
    ) -> Agent:
        """Update an agent: ``PUT /agent/{id}`` (contract §11).

        Args:
            agent_id: Id of the agent.
            details: The changes. Fields that are left out keep their value, and None clears a
                field: ``AgentForUpdate(team_id=None)`` removes the agent from its team. (Release
                0.4 did not send None and could not clear a field.) A dict is sent unchanged.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The updated agent.

        Raises:
            TypeError: ``details`` is neither an ``AgentForUpdate`` nor a dict.
            ValueError: The idempotency key is not allowed.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.UPDATE_AGENT,
            DetailsRequest(
                details=resource_fields(details, "details", AgentForUpdate),
                idempotency_key=self._executor.key(idempotency_key),
            ),
            agent_id,
        )

    def list(
        self,
        risk_profile_id: str | None = None,
        team_id: str | None = None,
        owner_person_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[AgentSummary]:
        """List agents: ``GET /agent`` (contract §2, §11).

        Args:
            risk_profile_id: Only agents with this risk profile.
            team_id: Only agents of this team.
            owner_person_id: Only agents that this person owns.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {
            "risk_profile_id": risk_profile_id,
            "team_id": team_id,
            "owner_person_id": owner_person_id,
        }
        return list_call(self._executor, _api.LIST_AGENTS, filters, sorting, offset, page_size)

    async def list_agents(
        self,
        risk_profile_id: str | None = None,
        team_id: str | None = None,
        owner_person_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[AgentSummary]:
        """Read a page of agents: ``GET /agent`` (contract §2, §11).

        This is the name of `list` in release 0.4.3, and a coroutine function as it was there.

        Args:
            risk_profile_id: Only agents with this risk profile.
            team_id: Only agents of this team.
            owner_person_id: Only agents that this person owns.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The page. ``async for`` over it continues with all later pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        return await self.list(
            risk_profile_id, team_id, owner_person_id, sorting, offset, page_size
        )

    async def show(
        self,
        *,
        agent_id: str | None = None,
        external_identifier: str | None = None,
        environment_id: str | None = None,
        include_counts: bool = False,
        include_risk_rollup: bool = False,
    ) -> Agent:
        """Read an agent by id or external identifier: ``GET /agent/show`` (contract §11).

        Args:
            agent_id: Id of the agent.
            external_identifier: External identifier of the agent.
            environment_id: Environment for counts and risks; by default all environments.
            include_counts: Whether to include the number of instances.
            include_risk_rollup: Whether to include the risk rollup.

        Returns:
            The agent.

        Raises:
            ValueError: Both or neither of ``agent_id`` and ``external_identifier`` are given, or a
                value is blank.
        """
        if (agent_id is None) == (external_identifier is None):
            raise ValueError("agents.show takes exactly one of agent_id and external_identifier")
        params = {
            "agent_id": agent_id,
            "external_identifier": external_identifier,
            "environment_id": environment_id,
            "include_counts": "true" if include_counts else None,
            "include_risk_rollup": "true" if include_risk_rollup else None,
        }
        given = {name: text(value, name) for name, value in params.items() if value is not None}
        return await self._executor.read(_api.SHOW_AGENT, given)

    async def retire(self, agent_id: str, idempotency_key: str | None = None) -> Agent:
        """Retire an agent: ``POST /agent/{id}/retire`` (contract §11).

        Args:
            agent_id: Id of the agent.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The agent, ``retired``.

        Raises:
            ValueError: The idempotency key is not allowed.
            PrefactorConflictError: The agent is already retired.
        """
        return await self._executor.send(
            _api.RETIRE_AGENT,
            ActionRequest(idempotency_key=self._executor.key(idempotency_key)),
            agent_id,
        )

    async def reinstate(self, agent_id: str, idempotency_key: str | None = None) -> Agent:
        """Reinstate a retired agent: ``POST /agent/{id}/reinstate`` (contract §11).

        Args:
            agent_id: Id of the agent.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The agent, no longer ``retired``.

        Raises:
            ValueError: The idempotency key is not allowed.
            PrefactorConflictError: The agent is not retired.
        """
        return await self._executor.send(
            _api.REINSTATE_AGENT,
            ActionRequest(idempotency_key=self._executor.key(idempotency_key)),
            agent_id,
        )

    async def delete(self, agent_id: str, idempotency_key: str | None = None) -> Agent:
        """Delete an agent: ``DELETE /agent/{id}`` (contract §11).

        Args:
            agent_id: Id of the agent.
            idempotency_key: Idempotency key, 1 to 64 characters; by default a new one.

        Returns:
            The deleted agent.

        Raises:
            ValueError: The idempotency key is not allowed.
            PrefactorConflictError: The agent has instances.
        """
        return await self._executor.send(
            _api.DELETE_AGENT,
            ActionRequest(idempotency_key=self._executor.key(idempotency_key)),
            agent_id,
        )


__all__ = ["AgentClient"]
