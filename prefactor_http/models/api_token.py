"""API tokens (contract §1, §12)."""

from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models._datetime import datetime
from prefactor_http.models.types import TokenScope


class ApiToken(Struct, frozen=True, kw_only=True, gc=False):
    """An API token, without its secret.

    Attributes:
        id: Id of the token.
        type: ``api_token``; None if the response does not contain it.
        status: ``active``, ``suspended`` or ``revoked``, or a value that the API added later.
        token_scope: A ``TokenScope``, or a value that the API added later.
        account_id: Account of the token.
        agent_id: The only agent that the token covers; None for an account token.
        environment_id: The only environment that the token covers; None for an account token.
        expires_at: When the token expires; None for never.
        last_used_at: When the token was last used; None if it never was.
        inserted_at: When it was created.
        updated_at: When it last changed.
    """

    id: str
    type: str | None = None
    status: str | None = None
    token_scope: str | None = None
    account_id: str | None = None
    agent_id: str | None = None
    environment_id: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    inserted_at: datetime | None = None
    updated_at: datetime | None = None


class CreatedApiToken(Struct, frozen=True, kw_only=True):
    """A new API token with its secret, which the API returns only once.

    ``repr()`` and ``str()`` do not contain the secret.

    Attributes:
        details: The token.
        token: The secret, to be sent as ``Authorization: Bearer``.
    """

    details: ApiToken
    token: str

    @property
    def result(self) -> "CreatedApiToken":
        """The response itself: the secret is not part of the details."""
        return self

    def __repr__(self) -> str:
        return f"CreatedApiToken(details={self.details!r}, token='[token]')"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("details", self.details), ("token", "[token]")]


class ApiTokenForCreate(CheckedModel, frozen=True, kw_only=True):
    """Fields of a new API token. Fields that are left out are not sent.

    Attributes:
        token_scope: What the token covers: ``account`` or ``agent_deployment``. ``environment`` is
            a legacy scope.
        account_id: Account of the token.
        agent_id: Agent of the deployment, for ``agent_deployment``.
        environment_id: Environment of the deployment, for ``agent_deployment``.
        expires_at: When the token expires, with a time zone; None for never.

    Raises:
        ValueError: A field has the wrong type or is blank, or ``expires_at`` has no time zone.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ("account_id", "agent_id", "environment_id")

    token_scope: TokenScope
    account_id: str | UnsetType | None = UNSET
    agent_id: str | UnsetType | None = UNSET
    environment_id: str | UnsetType | None = UNSET
    expires_at: Annotated[datetime, Meta(tz=True)] | UnsetType | None = UNSET


__all__ = ["ApiToken", "ApiTokenForCreate", "CreatedApiToken"]
