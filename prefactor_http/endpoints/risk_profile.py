"""Risk profiles: list them."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.endpoints.page import ListCall, list_call
from prefactor_http.models.risk_profile import RiskProfile


class RiskProfileClient(EndpointClient):
    """Reads of risk profiles (contract §12), available as `PrefactorHttpClient.risk_profiles`.

    Every call raises `PrefactorHttpError` or one of its subclasses when it fails.
    """

    def list(
        self,
        account_id: str | None = None,
        sorting: str | None = None,
        offset: int | None = None,
        page_size: int | None = None,
    ) -> ListCall[RiskProfile]:
        """List risk profiles: ``GET /risk_profile`` (contract §2, §12).

        Args:
            account_id: Only risk profiles of this account.
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
            self._executor, _api.LIST_RISK_PROFILES, filters, sorting, offset, page_size
        )


__all__ = ["RiskProfileClient"]
