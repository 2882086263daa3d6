"""Deployments: an agent in an environment (contract §12)."""

from msgspec import Struct

from prefactor_http.models._datetime import datetime


class AgentDeployment(Struct, frozen=True, kw_only=True, gc=False):
    """An agent as it is deployed in one environment.

    Attributes:
        type: ``agent_deployment``.
        id: Its id.
        agent_id: Agent that is deployed.
        environment_id: Environment that it is deployed in.
        account_id: Account that it belongs to.
        current_version_id: Agent version that it is pinned to; None where there is none.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    type: str
    id: str
    agent_id: str
    environment_id: str
    account_id: str | None = None
    current_version_id: str | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


__all__ = ["AgentDeployment"]
