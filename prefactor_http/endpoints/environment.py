"""Environments: read what agents can run in."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import Page, list_page
from prefactor_http.models.environment import Environment


class EnvironmentClient(EndpointClient):
    """Reads of environments (contract §12); `PrefactorHttpClient.environments` is one.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    async def get(self, environment_id: str) -> Environment:
        """Read one: ``GET /environment/{id}`` (contract §12).

        Args:
            environment_id: The environment.

        Returns:
            The environment.
        """
        return await self._executor.send(_api.GET_ENVIRONMENT, None, environment_id)

    async def list(
        self,
        account_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> Page[Environment]:
        """List them: ``GET /environment`` (contract §2, §12).

        Args:
            account_id: Only those of this account.
            sorting: Field to sort by, ``-field`` for descending; by default oldest first.
            offset: Items to skip, from 0.
            page_size: Items on a page, 1 to 100; 50 by default.

        Returns:
            The page; ``async for`` over it goes through all later pages too.

        Raises:
            ValueError: The offset or the page size is out of range.
        """
        filters = {"account_id": account_id}
        return await list_page(
            self._executor, _api.LIST_ENVIRONMENTS, filters, sorting, offset, page_size
        )


__all__ = ["EnvironmentClient"]
