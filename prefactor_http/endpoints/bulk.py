"""Bulk: many calls in one request."""

from __future__ import annotations

from prefactor_http import _api
from prefactor_http._bulk_item import ItemReader
from prefactor_http.endpoints._sender import Sender
from prefactor_http.models.bulk import BulkRequest, BulkResponse


class BulkClient:
    """Calls made together (contract §9); `PrefactorHttpClient.bulk` is one.

    Args:
        http_client: The client that sends.
    """

    def __init__(self, http_client: Sender) -> None:
        self._client = http_client

    async def execute(self, request: BulkRequest) -> BulkResponse:
        """Make calls in one request, in order: ``POST /bulk`` (contract §9).

        The API stops at the first call that fails; those before it have taken effect. When the
        request itself fails, sending it again with the same keys repeats no call.

        Args:
            request: The calls. One on something that has a path of its own names it in a field,
                such as ``agent_instance_id``.

        Returns:
            Each call's output by its key, and the keys of the calls that were not attempted. An
            output's ``decode()`` gives the call's result, or raises its error.

        Raises:
            PrefactorHttpError: The request failed as a whole.
        """
        readers = {item.idempotency_key: ItemReader(item) for item in request.items}
        return (await self._client.send(_api.BULK, request.body)).to_response(readers)


__all__ = ["BulkClient"]
