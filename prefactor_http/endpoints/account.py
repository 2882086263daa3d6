"""Accounts: list, read and update them."""

from __future__ import annotations

from collections.abc import Mapping

from prefactor_http import _api
from prefactor_http.endpoints._arguments import resource_fields
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, list_call
from prefactor_http.models.account import Account, AccountForUpdate
from prefactor_http.models.base import DetailsRequest


class AccountClient(EndpointClient):
    """Calls on accounts (contract §12), available as `PrefactorHttpClient.accounts`.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def get(self, account_id: str) -> Account:
        """Read an account: ``GET /account/{id}`` (contract §12).

        Args:
            account_id: Id of the account.

        Returns:
            The account.

        Raises:
            PrefactorNotFoundError: The account does not exist.
        """
        return await self._executor.send(_api.GET_ACCOUNT, None, account_id)

    def list(
        self,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[Account]:
        """List the accounts that the token can read: ``GET /account`` (contract §2, §12).

        Args:
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Number of items to skip; 0 by default.
            page_size: Items per page, 1 to 100; 50 by default.

        Returns:
            The call: ``await`` it for a page, or use ``async for`` to read all pages.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        return list_call(self._executor, _api.LIST_ACCOUNTS, {}, sorting, offset, page_size)

    async def update(
        self, account_id: str, details: AccountForUpdate | Mapping[str, object]
    ) -> Account:
        """Update an account: ``PUT /account/{id}`` (contract §12).

        The API documents no idempotency key for this call, so it is not repeated after an attempt
        with an unknown outcome. If the error has ``outcome_unknown``, read the account with `get`
        and update it again if the change is missing.

        Args:
            account_id: Id of the account.
            details: The changes. A dict is sent unchanged.

        Returns:
            The updated account.

        Raises:
            TypeError: ``details`` is neither an ``AccountForUpdate`` nor a dict.
            PrefactorNotFoundError: The account does not exist.
            PrefactorValidationError: The API refused a field.
        """
        return await self._executor.send(
            _api.UPDATE_ACCOUNT,
            DetailsRequest(details=resource_fields(details, "details", AccountForUpdate)),
            account_id,
        )


__all__ = ["AccountClient"]
