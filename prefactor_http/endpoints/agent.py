"""Agents: create, read, change, retire and delete them."""

from __future__ import annotations

from typing import Any

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields, text
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import Page, list_page
from prefactor_http.models.agent import Agent, AgentForCreate, AgentForUpdate, AgentSummary
from prefactor_http.models.base import ActionRequest, DetailsRequest


class AgentClient(EndpointClient):
    """Calls on agents (contract §11); `PrefactorHttpClient.agents` is one.

    Every write takes an ``idempotency_key`` (1 to 64 printable ASCII characters, no spaces) and
    makes one when it is left out. Every call raises `PrefactorHttpError` or one of its subclasses
    when it fails, of which `PrefactorNotFoundError` means that there is no such agent.
    """

    async def create(
        self, details: AgentForCreate | dict[str, Any], idempotency_key: str | None = None
    ) -> Agent:
        """Create an agent: ``POST /agent`` (contract §11).

        Args:
            details: Its fields; a dict goes out as it is.
            idempotency_key: The call's key.

        Returns:
            The agent.

        Raises:
            TypeError: The details are neither.
            ValueError: The key is not allowed.
            PrefactorValidationError: The API refuses a field.
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
            agent_id: The agent.

        Returns:
            The agent.
        """
        return await self._executor.send(_api.GET_AGENT, None, agent_id)

    async def update(
        self,
        agent_id: str,
        details: AgentForUpdate | dict[str, Any],
        idempotency_key: str | None = None,
    ) -> Agent:
        """Change an agent: ``PUT /agent/{id}`` (contract §11).

        Args:
            agent_id: The agent.
            details: What changes; a dict goes out as it is. What is left out stays, and None
                clears: ``AgentForUpdate(team_id=None)`` takes the agent from its team. (Release
                0.4 left None out, and could not clear a field.)
            idempotency_key: The call's key.

        Returns:
            The agent as it is now.

        Raises:
            TypeError: The details are neither.
            ValueError: The key is not allowed.
            PrefactorValidationError: The API refuses a field.
        """
        return await self._executor.send(
            _api.UPDATE_AGENT,
            DetailsRequest(
                details=resource_fields(details, "details", AgentForUpdate),
                idempotency_key=self._executor.key(idempotency_key),
            ),
            agent_id,
        )

    async def list_agents(
        self,
        risk_profile_id: str | None = None,
        team_id: str | None = None,
        owner_person_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[AgentSummary]:
        """List agents: ``GET /agent`` (contract §2, §11).

        Args:
            risk_profile_id: Only those with this risk profile.
            team_id: Only those of this team.
            owner_person_id: Only those that this person answers for.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Items to skip, from 0.
            page_size: Items on a page, 1 to 100; 50 by default.

        Returns:
            The page; ``async for`` over it goes through all later pages too.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {
            "risk_profile_id": risk_profile_id,
            "team_id": team_id,
            "owner_person_id": owner_person_id,
        }
        return await list_page(
            self._executor, _api.LIST_AGENTS, filters, sorting, offset, page_size
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
        """Look an agent up by either of its names: ``GET /agent/show`` (contract §11).

        Args:
            agent_id: The agent; this or the next.
            external_identifier: Your own name for it.
            environment_id: Environment that counts and risks are about; by default all.
            include_counts: Whether to count the agent's instances.
            include_risk_rollup: Whether to sum up the agent's risks.

        Returns:
            The agent.

        Raises:
            ValueError: Not exactly one of ``agent_id`` and ``external_identifier`` is given, or it
                is blank.
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
            agent_id: The agent.
            idempotency_key: The call's key.

        Returns:
            The agent, ``retired``.

        Raises:
            ValueError: The key is not allowed.
            PrefactorConflictError: The agent is retired already.
        """
        return await self._executor.send(
            _api.RETIRE_AGENT,
            ActionRequest(idempotency_key=self._executor.key(idempotency_key)),
            agent_id,
        )

    async def reinstate(self, agent_id: str, idempotency_key: str | None = None) -> Agent:
        """Take an agent out of retirement: ``POST /agent/{id}/reinstate`` (contract §11).

        Args:
            agent_id: The agent.
            idempotency_key: The call's key.

        Returns:
            The agent, no longer ``retired``.

        Raises:
            ValueError: The key is not allowed.
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
            agent_id: The agent.
            idempotency_key: The call's key.

        Returns:
            The agent as it was.

        Raises:
            ValueError: The key is not allowed.
            PrefactorConflictError: The agent has instances.
        """
        return await self._executor.send(
            _api.DELETE_AGENT,
            ActionRequest(idempotency_key=self._executor.key(idempotency_key)),
            agent_id,
        )


__all__ = ["AgentClient"]
