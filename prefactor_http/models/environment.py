"""Environments that agents run in (contract §12)."""

from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime
from prefactor_http.models.types import EnvironmentPurpose


class Environment(Struct, frozen=True, kw_only=True, gc=False):
    """An environment of an account.

    Attributes:
        id: Id of the environment.
        name: Display name.
        type: ``environment``; None if the response does not contain it.
        account_id: Account of the environment.
        purpose: An ``EnvironmentPurpose``, or a value that the API added later.
        description: Description.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    id: str
    name: str
    type: str | None = None
    account_id: str | None = None
    purpose: str | None = None
    description: str | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


class EnvironmentForCreate(CheckedModel, frozen=True, kw_only=True):
    """Fields of a new environment. Fields that are left out are not sent.

    Attributes:
        account_id: Account of the environment.
        name: Display name.
        purpose: What the environment is used for.
        description: Description.

    Raises:
        ValueError: A field has the wrong type or is blank.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("account_id", "name")

    account_id: str
    name: str
    purpose: EnvironmentPurpose | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class EnvironmentForUpdate(CheckedModel, frozen=True, kw_only=True):
    """Changes to an environment. Fields that are left out keep their value.

    Attributes:
        name: Display name.
        purpose: What the environment is used for.
        description: Description; None clears it.

    Raises:
        ValueError: A field has the wrong type or is blank.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("name",)

    name: str | UnsetType = UNSET
    purpose: EnvironmentPurpose | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


__all__ = ["Environment", "EnvironmentForCreate", "EnvironmentForUpdate"]
