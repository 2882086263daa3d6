"""API tokens: who makes a request (contract §1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.fields import as_text
from prefactor_http.testing.resources.response import JsonObject, bad_token, forbidden

_SCHEME = "Bearer "


@dataclass(slots=True)
class Token:
    """One API token.

    Attributes:
        secret: Value of the ``Authorization`` header, without the scheme.
        deployment: The deployment that the token is bound to; None for an account token.
        active: False while the token is suspended or revoked.
        row: Details of the token, if it was created by a call.
    """

    secret: str = field(repr=False)
    deployment: JsonObject | None = None
    active: bool = True
    row: JsonObject | None = None

    def target(self, field: str, given: str | None) -> str | None:
        """Return the agent or environment that a call is about.

        Args:
            field: ``agent_id`` or ``environment_id``.
            given: The value in the request.

        Returns:
            The value in the request, or that of the token's deployment.

        Raises:
            ApiError: 403, the two contradict each other.
        """
        if self.deployment is None:
            return given
        own: str = self.deployment[field]
        if given is not None and given != own:
            raise forbidden(f"The token is bound to another {field}.")
        return own


class TokenRing:
    """The tokens of an account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._tokens: dict[str, Token] = {}

    def add(
        self, secret: str, deployment: JsonObject | None = None, row: JsonObject | None = None
    ) -> str:
        """Add a token and return its secret."""
        self._tokens[secret] = Token(secret, deployment, row=row)
        return secret

    def set_active(self, secret: str, active: bool) -> None:
        self._tokens[secret].active = active

    def of_row(self, row: JsonObject) -> Token:
        """Return the token with these details."""
        return next(token for token in self._tokens.values() if token.row is row)

    def remove(self, token: Token) -> None:
        del self._tokens[token.secret]

    def bearer(self, authorization: str | None) -> Token:
        """Return the token of a request.

        Raises:
            ApiError: 401 ``bad_authtoken``.
        """
        if authorization is None or not authorization.startswith(_SCHEME):
            raise bad_token()
        token = self._tokens.get(authorization.removeprefix(_SCHEME))
        if token is None or not token.active:
            raise bad_token()
        if token.row is not None:
            now, expires_at = self._account.now(), token.row["expires_at"]
            if expires_at is not None and datetime.fromisoformat(expires_at) <= now:
                raise bad_token()
            token.row["last_used_at"] = as_text(now)
        return token
