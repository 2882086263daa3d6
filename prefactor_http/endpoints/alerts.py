"""Alerts: count them."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http.endpoints._base import EndpointClient


class AlertClient(EndpointClient):
    """The number of alerts (contract §12), available as `PrefactorHttpClient.alerts`."""

    async def count(self) -> int:
        """Count the alerts: ``GET /alerts/count`` (contract §12).

        Returns:
            The number of alerts.

        Raises:
            PrefactorHttpError: The call failed.
        """
        return await self._executor.send(_api.COUNT_ALERTS)


__all__ = ["AlertClient"]
