"""Deployments tie an agent to an environment and pin a version (contract §12)."""

from __future__ import annotations

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.response import JsonObject


class Deployments:
    """Finds the deployment of an agent in an environment, or makes it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._by_place: dict[tuple[str, str], JsonObject] = {}

    def find_or_create(self, agent_id: str, environment_id: str) -> JsonObject:
        """Return the one deployment of the agent in the environment."""
        deployment = self._by_place.get((agent_id, environment_id))
        if deployment is None:
            deployment = self._account.stamped(
                {
                    "type": "agent_deployment",
                    "id": self._account.new_id(),
                    "account_id": self._account.account_id,
                    "agent_id": agent_id,
                    "environment_id": environment_id,
                    "current_version_id": None,
                }
            )
            self._by_place[agent_id, environment_id] = deployment
            self._account.deployments[deployment["id"]] = deployment
        return deployment

    def pin(self, deployment: JsonObject, version_id: str) -> None:
        """Make an agent version the deployment's current one."""
        previous_id = deployment["current_version_id"]
        if previous_id == version_id:
            return
        if previous_id is not None:
            self._refs(previous_id).remove(deployment["id"])
        self._refs(version_id).append(deployment["id"])
        deployment["current_version_id"] = version_id
        self._account.touch(deployment)

    def _refs(self, version_id: str) -> list[str]:
        """Return the deployments that run the schema of an agent version now."""
        version = self._account.agent_versions[version_id]
        schema = self._account.schema_versions[version["agent_schema_version_id"]]
        refs: list[str] = schema["current_agent_deployment_refs"]
        return refs
