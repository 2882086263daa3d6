"""Ids that the API generates."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http._values.numbers import integer
from prefactor_http.endpoints._arguments import optional_text
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.models.pfid import GeneratePfidsRequest

MAX_COUNT = 100


class PfidClient(EndpointClient):
    """Generated ids (contract §4), available as `PrefactorHttpClient.pfid`.

    `idempotency.new_id` generates ids without a request.
    """

    async def generate(self, count: int, account_id: str | None = None) -> list[str]:
        """Generate ids for resources of an account: ``POST /pfid/generate`` (contract §4).

        The API documents no idempotency key for this call, so it is not repeated after an attempt
        with an unknown outcome. It can be called again at any time: the lost ids remain unused.

        Args:
            count: Number of ids, 1 to 100.
            account_id: Account of the ids; by default the token's.

        Returns:
            The ids.

        Raises:
            TypeError: ``count`` is not an int, or ``account_id`` is not a str.
            ValueError: ``count`` is out of range, or ``account_id`` is blank.
            PrefactorHttpError: The call failed.
        """
        request = GeneratePfidsRequest(
            count=integer(count, "count", 1, MAX_COUNT),
            account_id=optional_text(account_id, "account_id"),
        )
        return (await self._executor.send(_api.GENERATE_PFIDS, request)).pfids


__all__ = ["PfidClient"]
