"""API tokens: whom a request speaks for (contract §1)."""

from __future__ import annotations

from dataclasses import dataclass

from prefactor_http.testing.resources.response import JsonObject, bad_token, forbidden

_SCHEME = "Bearer "


@dataclass(slots=True)
class Token:
    """One API token.

    Attributes:
        secret: What goes into the header.
        deployment: The deployment that the token is bound to; None for an account token.
        active: False once suspended, revoked or expired.
    """

    secret: str
    deployment: JsonObject | None = None
    active: bool = True

    def target(self, field: str, given: str | None) -> str | None:
        """Return the agent or environment that a call is about.

        Args:
            field: ``agent_id`` or ``environment_id``.
            given: What the caller said.

        Returns:
            What the caller said, or what the deployment of the token says.

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

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}

    def add(self, secret: str, deployment: JsonObject | None = None) -> str:
        """Add a token and return its secret."""
        self._tokens[secret] = Token(secret, deployment)
        return secret

    def set_active(self, secret: str, active: bool) -> None:
        """Suspend or reactivate a token."""
        self._tokens[secret].active = active

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
        return token
