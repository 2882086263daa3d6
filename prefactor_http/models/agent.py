"""Agents (contract §11)."""

from msgspec import UNSET, Struct, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime


class AgentAvailableActions(Struct, frozen=True, kw_only=True, gc=False):
    """The actions that the current state of an agent allows.

    Attributes:
        update: Whether it can be updated.
        retire: Whether it can be retired.
        reinstate: Whether it can be reinstated.
        delete: Whether it can be deleted.
    """

    update: bool = False
    retire: bool = False
    reinstate: bool = False
    delete: bool = False


class AgentInstanceCounts(Struct, frozen=True, kw_only=True, gc=False):
    """The number of instances of an agent, by status.

    Attributes:
        total: All instances.
        pending: Instances that have not started.
        active: Running instances.
        complete: Instances that succeeded.
        failed: Instances that failed.
        cancelled: Instances that were cancelled before they started.
        terminated: Instances that were terminated.
        finished: All instances that have ended.
    """

    total: int = 0
    pending: int = 0
    active: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    terminated: int = 0
    finished: int = 0


class AgentSummary(Struct, frozen=True, kw_only=True):
    """An agent in a list.

    Attributes:
        type: ``agent``.
        id: Id of the agent.
        name: Display name.
        status: ``pending``, ``active``, ``dormant`` or ``retired``, or a value that the API added
            later.
        description: Description.
        external_identifier: The caller's name for the agent, unique per account.
        owner_person_id: Person who owns the agent.
        team_id: Team of the agent.
        available_actions: Actions that the current state allows.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    type: str
    id: str
    name: str
    status: str
    description: str | None = None
    external_identifier: str | None = None
    owner_person_id: str | None = None
    team_id: str | None = None
    available_actions: AgentAvailableActions | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


class Agent(AgentSummary, frozen=True, kw_only=True):
    """An agent.

    Attributes:
        risk_profile_id: Risk profile of the agent.
        instance_counts: Number of instances; None unless it was requested.
    """

    risk_profile_id: str | None = None
    instance_counts: AgentInstanceCounts | None = None


class AgentForCreate(CheckedModel, frozen=True, kw_only=True):
    """Fields of a new agent. Fields that are left out are not sent.

    Attributes:
        name: Display name.
        description: Description.
        external_identifier: The caller's name for the agent, unique per account. It cannot be
            changed later.
        id: Id chosen by the caller, with the partition of the account.
        owner_person_id: Person who owns the agent.
        risk_profile_id: Risk profile of the agent.
        team_id: Team of the agent.

    Raises:
        ValueError: A field has the wrong type.
    """

    name: str
    description: str | UnsetType | None = UNSET
    external_identifier: str | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    owner_person_id: str | UnsetType | None = UNSET
    risk_profile_id: str | UnsetType | None = UNSET
    team_id: str | UnsetType | None = UNSET


class AgentForUpdate(CheckedModel, frozen=True, kw_only=True):
    """Changes to an agent. Fields that are left out keep their value; None clears a field.

    Attributes:
        name: Display name.
        description: Description.
        owner_person_id: Person who owns the agent.
        risk_profile_id: Risk profile of the agent.
        team_id: Team of the agent.

    Raises:
        ValueError: A field has the wrong type.
    """

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    owner_person_id: str | UnsetType | None = UNSET
    risk_profile_id: str | UnsetType | None = UNSET
    team_id: str | UnsetType | None = UNSET


__all__ = [
    "Agent",
    "AgentAvailableActions",
    "AgentForCreate",
    "AgentForUpdate",
    "AgentInstanceCounts",
    "AgentSummary",
]
