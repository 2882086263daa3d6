"""Accounts: read the one that a token belongs to."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.models.account import Account


class AccountClient(EndpointClient):
    """Reads of accounts (contract §12); `PrefactorHttpClient.accounts` is one.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def get(self, account_id: str) -> Account:
        """Read one: ``GET /account/{id}`` (contract §12).

        Args:
            account_id: The account.

        Returns:
            The account.
        """
        return await self._executor.send(_api.GET_ACCOUNT, None, account_id)


__all__ = ["AccountClient"]
