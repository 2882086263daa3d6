"""API tokens: create, suspend, activate, revoke and delete them."""

from __future__ import annotations

from collections.abc import Mapping

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.models.api_token import ApiToken, ApiTokenForCreate, CreatedApiToken
from prefactor_http.models.base import ActionRequest, DetailsRequest


class ApiTokenClient(EndpointClient):
    """Calls on API tokens (contract §1, §12), available as `PrefactorHttpClient.api_tokens`.

    A token is ``active``, ``suspended`` or ``revoked``. A revoked token cannot be activated again.

    The API documents no idempotency keys for these calls, so they are not repeated after an attempt
    with an unknown outcome. Every call raises `PrefactorHttpError` or one of its subclasses when it
    fails.
    """

    async def create(self, details: ApiTokenForCreate | Mapping[str, object]) -> CreatedApiToken:
        """Create an API token: ``POST /api_token`` (contract §12).

        The API returns the secret only in this response. It does not appear in the ``repr()`` of
        the result, in logs or in errors of this client.

        If the error has ``outcome_unknown``, a token may exist whose secret is lost. Create another
        one, then revoke the first one in the admin UI.

        Args:
            details: The fields. A dict is sent unchanged.

        Returns:
            The new token, with its secret as ``token``.

        Raises:
            TypeError: ``details`` is neither an ``ApiTokenForCreate`` nor a dict.
            PrefactorValidationError: The API refused a field.
        """
        created = await self._executor.send(
            _api.CREATE_API_TOKEN,
            DetailsRequest(details=resource_fields(details, "details", ApiTokenForCreate)),
        )
        self._executor.redactor.add(created.token)
        return created

    async def suspend(self, api_token_id: str) -> ApiToken:
        """Suspend an active token: ``POST /api_token/{id}/suspend`` (contract §12).

        If the error has ``outcome_unknown``, call it again: `PrefactorConflictError` then means
        that the token is not active any more.

        Args:
            api_token_id: Id of the token.

        Returns:
            The token, ``suspended``.

        Raises:
            PrefactorNotFoundError: The token does not exist.
            PrefactorConflictError: The token is not active.
        """
        return await self._executor.send(_api.SUSPEND_API_TOKEN, ActionRequest(), api_token_id)

    async def activate(self, api_token_id: str) -> ApiToken:
        """Activate a suspended token: ``POST /api_token/{id}/activate`` (contract §12).

        If the error has ``outcome_unknown``, call it again: `PrefactorConflictError` then means
        that the token is not suspended any more.

        Args:
            api_token_id: Id of the token.

        Returns:
            The token, ``active``.

        Raises:
            PrefactorNotFoundError: The token does not exist.
            PrefactorConflictError: The token is not suspended.
        """
        return await self._executor.send(_api.ACTIVATE_API_TOKEN, ActionRequest(), api_token_id)

    async def revoke(self, api_token_id: str) -> ApiToken:
        """Revoke a token permanently: ``POST /api_token/{id}/revoke`` (contract §12).

        If the error has ``outcome_unknown``, call it again: `PrefactorConflictError` then means
        that the token is revoked.

        Args:
            api_token_id: Id of the token.

        Returns:
            The token, ``revoked``.

        Raises:
            PrefactorNotFoundError: The token does not exist.
            PrefactorConflictError: The token is revoked already.
        """
        return await self._executor.send(_api.REVOKE_API_TOKEN, ActionRequest(), api_token_id)

    async def delete(self, api_token_id: str) -> None:
        """Delete a suspended or revoked token: ``DELETE /api_token/{id}`` (contract §12).

        If the error has ``outcome_unknown``, call it again: `PrefactorNotFoundError` then means
        that the token is deleted.

        Args:
            api_token_id: Id of the token.

        Raises:
            PrefactorNotFoundError: The token does not exist.
            PrefactorConflictError: The token is active.
        """
        await self._executor.send(_api.DELETE_API_TOKEN, None, api_token_id)


__all__ = ["ApiTokenClient"]
