"""Deployments tie an agent to an environment and pin a version (contract §12)."""

from __future__ import annotations

from prefactor_http.testing._account import Account
from prefactor_http.testing._reply import JsonObject
from prefactor_http.testing._versions import Version


class Deployments:
    """Finds the deployment of an agent in an environment, or makes it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._by_place: dict[tuple[str, str], JsonObject] = {}
        self._pinned: dict[str, Version] = {}

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

    def pin(self, deployment: JsonObject, version: Version) -> None:
        """Make a version the deployment's current one."""
        deployment_id: str = deployment["id"]
        previous = self._pinned.get(deployment_id)
        if previous is version:
            return
        if previous is not None:
            previous.release(deployment_id)
        version.take(deployment_id)
        self._pinned[deployment_id] = version
        deployment["current_version_id"] = version.agent_version["id"]
        self._account.touch(deployment)
