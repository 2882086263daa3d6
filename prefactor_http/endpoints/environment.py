"""Environments: create, read, update and delete them."""

from __future__ import annotations

from collections.abc import Mapping

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, list_call
from prefactor_http.models.base import DetailsRequest
from prefactor_http.models.environment import (
    Environment,
    EnvironmentForCreate,
    EnvironmentForUpdate,
)


class EnvironmentClient(EndpointClient):
    """Calls on environments (contract §12), available as `PrefactorHttpClient.environments`.

    The API documents no idempotency keys for the writes, except as bulk items. Called directly,
    they are not repeated after an attempt with an unknown outcome. Every call raises
    `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def create(self, details: EnvironmentForCreate | Mapping[str, object]) -> Environment:
        """Create an environment: ``POST /environment`` (contract §12).

        If the error has ``outcome_unknown``, look for the name with `list` before creating it
        again. As a bulk item (``environments/create``) the call has a key and is safe to repeat.

        Args:
            details: The fields. A dict is sent unchanged.

        Returns:
            The new environment.

        Raises:
            TypeError: ``details`` is neither an ``EnvironmentForCreate`` nor a dict.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.CREATE_ENVIRONMENT,
            DetailsRequest(details=resource_fields(details, "details", EnvironmentForCreate)),
        )

    async def get(self, environment_id: str) -> Environment:
        """Read an environment: ``GET /environment/{id}`` (contract §12).

        Args:
            environment_id: Id of the environment.

        Returns:
            The environment.

        Raises:
            PrefactorNotFoundError: The environment does not exist.
        """
        return await self._executor.send(_api.GET_ENVIRONMENT, None, environment_id)

    def list(
        self,
        account_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[Environment]:
        """List environments: ``GET /environment`` (contract §2, §12).

        Args:
            account_id: Only environments of this account.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"account_id": account_id}
        return list_call(
            self._executor, _api.LIST_ENVIRONMENTS, filters, sorting, offset, page_size
        )

    async def update(
        self, environment_id: str, details: EnvironmentForUpdate | Mapping[str, object]
    ) -> Environment:
        """Update an environment: ``PUT /environment/{id}`` (contract §12).

        If the error has ``outcome_unknown``, read the environment with `get` and update it again
        if the change is missing. As a bulk item (``environments/update``) the call has a key and
        is safe to repeat.

        Args:
            environment_id: Id of the environment.
            details: The changes. A dict is sent unchanged.

        Returns:
            The updated environment.

        Raises:
            TypeError: ``details`` is neither an ``EnvironmentForUpdate`` nor a dict.
            PrefactorNotFoundError: The environment does not exist.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.UPDATE_ENVIRONMENT,
            DetailsRequest(details=resource_fields(details, "details", EnvironmentForUpdate)),
            environment_id,
        )

    async def delete(self, environment_id: str) -> None:
        """Delete an environment: ``DELETE /environment/{id}`` (contract §12).

        If the error has ``outcome_unknown``, call `get`: `PrefactorNotFoundError` means that the
        environment is deleted.

        Args:
            environment_id: Id of the environment.

        Raises:
            PrefactorNotFoundError: The environment does not exist.
            PrefactorConflictError: The environment cannot be deleted in its current state.
        """
        await self._executor.send(_api.DELETE_ENVIRONMENT, None, environment_id)


__all__ = ["EnvironmentClient"]
