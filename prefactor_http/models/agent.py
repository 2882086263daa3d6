"""Agents: what the API tells about them, and what is sent to it (contract §11)."""

from msgspec import UNSET, Struct, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime


class AgentAvailableActions(Struct, frozen=True, kw_only=True, gc=False):
    """What may be done with an agent in its present state.

    Attributes:
        update: Changing it.
        retire: Retiring it.
        reinstate: Taking it out of retirement.
        delete: Deleting it.
    """

    update: bool = False
    retire: bool = False
    reinstate: bool = False
    delete: bool = False


class AgentInstanceCounts(Struct, frozen=True, kw_only=True, gc=False):
    """How many instances an agent has.

    Attributes:
        total: All of them.
        pending: Those not started.
        active: Those that run.
        complete: Those that ended well.
        failed: Those that failed.
        cancelled: Those cancelled before they started.
        terminated: Those that were stopped from outside.
        finished: Those that ended in any way.
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
    """An agent as lists show it.

    Attributes:
        type: ``agent``.
        id: Its id.
        name: Its name for people.
        status: ``pending``, ``active``, ``dormant``, ``retired`` or one that the API learned later.
        description: What it does.
        external_identifier: The caller's name for it, unique in the account.
        owner_person_id: Person who answers for it.
        team_id: Team that answers for it.
        available_actions: What may be done with it now.
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
    """An agent in full: what lists show, and the rest.

    Attributes:
        risk_profile_id: Risk profile that applies to it.
        instance_counts: How many instances it has; None unless asked for.
    """

    risk_profile_id: str | None = None
    instance_counts: AgentInstanceCounts | None = None


class AgentForCreate(CheckedModel, frozen=True, kw_only=True):
    """Fields of a new agent. What is left out is not sent.

    Attributes:
        name: Its name for people.
        description: What it does.
        external_identifier: The caller's name for it, unique in the account; it cannot be changed.
        id: Id chosen by the caller, of the account's partition.
        owner_person_id: Person who answers for it.
        risk_profile_id: Risk profile that applies to it.
        team_id: Team that answers for it.

    Raises:
        ValueError: A field is not of its type.
    """

    name: str
    description: str | UnsetType | None = UNSET
    external_identifier: str | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    owner_person_id: str | UnsetType | None = UNSET
    risk_profile_id: str | UnsetType | None = UNSET
    team_id: str | UnsetType | None = UNSET


class AgentForUpdate(CheckedModel, frozen=True, kw_only=True):
    """Changes to an agent. What is left out stays as it is; None clears the field.

    Attributes:
        name: Its name for people.
        description: What it does.
        owner_person_id: Person who answers for it.
        risk_profile_id: Risk profile that applies to it.
        team_id: Team that answers for it.

    Raises:
        ValueError: A field is not of its type.
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
