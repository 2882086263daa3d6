"""The deployments of agents in environments, and the versions that they pin (contract §12)."""

from __future__ import annotations

from collections.abc import Iterator

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.response import JsonObject


class Deployments:
    """The deployments of the account, by agent and environment."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._by_place: dict[tuple[str, str], JsonObject] = {}

    def find_or_create(self, agent_id: str, environment_id: str) -> JsonObject:
        """Return the one deployment of the agent in the environment."""
        deployment = self.find(agent_id, environment_id)
        if deployment is None:
            deployment = self.create(agent_id, environment_id, self._account.new_id())
        return deployment

    def find(self, agent_id: str, environment_id: str) -> JsonObject | None:
        return self._by_place.get((agent_id, environment_id))

    def create(self, agent_id: str, environment_id: str, deployment_id: str) -> JsonObject:
        deployment = self._account.stamped(
            {
                "type": "agent_deployment",
                "id": deployment_id,
                "account_id": self._account.account_id,
                "agent_id": agent_id,
                "environment_id": environment_id,
                "current_version_id": None,
            }
        )
        self._by_place[agent_id, environment_id] = deployment
        self._account.deployments[deployment_id] = deployment
        return deployment

    def delete(self, deployment: JsonObject) -> None:
        self.pin(deployment, None)
        del self._by_place[deployment["agent_id"], deployment["environment_id"]]
        del self._account.deployments[deployment["id"]]

    def pin(self, deployment: JsonObject, version_id: str | None) -> None:
        """Make an agent version the deployment's current one, or remove the pin."""
        previous_id = deployment["current_version_id"]
        if previous_id == version_id:
            return
        for refs in self._refs(previous_id):
            refs.remove(deployment["id"])
        for refs in self._refs(version_id):
            refs.append(deployment["id"])
        deployment["current_version_id"] = version_id
        self._account.touch(deployment)

    def _refs(self, version_id: str | None) -> Iterator[list[str]]:
        """Find the deployments that use the schema of an agent version, if it has a schema."""
        version = self._account.agent_versions.get(version_id or "", {})
        schema = self._account.schema_versions.get(version.get("agent_schema_version_id") or "")
        if schema is not None:
            yield schema["current_agent_deployment_refs"]
