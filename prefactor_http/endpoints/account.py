"""Accounts: read the one that a token belongs to."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http._sender import Sender
from prefactor_http.models.account import Account


class AccountClient:
    """Reads of accounts (contract §12); `PrefactorHttpClient.accounts` is one.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.

    Args:
        http_client: The client that sends.
    """

    def __init__(self, http_client: Sender) -> None:
        self._client = http_client

    async def get(self, account_id: str) -> Account:
        """Read one: ``GET /account/{id}`` (contract §12).

        Args:
            account_id: The account.

        Returns:
            The account.
        """
        return await self._client.send(_api.GET_ACCOUNT, None, account_id)


__all__ = ["AccountClient"]
