"""Deployments: an agent in an environment (contract §12)."""

from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime


class AgentDeployment(Struct, frozen=True, kw_only=True, gc=False):
    """The deployment of an agent in one environment.

    Attributes:
        type: ``agent_deployment``.
        id: Id of the deployment.
        agent_id: The deployed agent.
        environment_id: Environment of the deployment.
        account_id: Account of the deployment.
        current_version_id: The pinned agent version; None if no version is pinned.
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


class AgentDeploymentForCreate(CheckedModel, frozen=True, kw_only=True):
    """Fields of a new deployment. Fields that are left out are not sent.

    Attributes:
        agent_id: The agent to deploy.
        environment_id: Environment to deploy it in.
        current_version_id: Agent version to pin.
        id: Id chosen by the caller, with the partition of the account.

    Raises:
        ValueError: A field has the wrong type or is blank.
    """

    _not_blank: ClassVar[tuple[str, ...]] = (
        "agent_id",
        "environment_id",
        "current_version_id",
        "id",
    )

    agent_id: str
    environment_id: str
    current_version_id: str | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET


class AgentDeploymentForUpdate(CheckedModel, frozen=True, kw_only=True):
    """Changes to a deployment. Fields that are left out keep their value.

    Attributes:
        current_version_id: Agent version to pin; None removes the pin.

    Raises:
        ValueError: A field has the wrong type or is blank.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("current_version_id",)

    current_version_id: str | UnsetType | None = UNSET


__all__ = ["AgentDeployment", "AgentDeploymentForCreate", "AgentDeploymentForUpdate"]
