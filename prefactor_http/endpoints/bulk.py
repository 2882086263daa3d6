"""Bulk: many calls in one request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from prefactor_http import _api
from prefactor_http._batch_options import BatchOptions, Group
from prefactor_http._batch_outcome import Outcome
from prefactor_http._bulk_execute import execute
from prefactor_http._sender import Sender
from prefactor_http.models.bulk import BulkItem, BulkRequest, BulkResponse


class BulkClient:
    """Calls made together (contract §9); `PrefactorHttpClient.bulk` is one.

    Args:
        http_client: The client that sends.
    """

    def __init__(self, http_client: Sender) -> None:
        self._client = http_client

    async def execute(self, request: BulkRequest) -> BulkResponse:
        """Make calls in one request, in order: ``POST /bulk`` (contract §9).

        The API stops at the first call that fails; those before it have been applied. When the
        request itself fails, sending it again with the same keys repeats no call.

        A call that fails after an attempt of the request was lost may have been applied by that
        attempt. It is verified by reading its resource, as for a direct call.

        Args:
            request: The calls. One on something that has a path of its own names it in a field,
                such as ``agent_instance_id``.

        Returns:
            Each call's output by its key, and the keys of the calls that were not attempted or
            whose outcome is unknown. An output's ``decode()`` gives the call's result, or raises
            its error.

        Raises:
            PrefactorHttpError: The request failed as a whole.
        """
        return await execute(self._client, request)

    def stream(
        self,
        items: Iterable[BulkItem] | AsyncIterable[BulkItem],
        *,
        chunk_size: int = 100,
        max_chunk_bytes: int = 1_000_000,
        concurrency: int = 8,
        patience: float = 300.0,
        ordered: bool = False,
        group: Group = None,
        max_failures: int | None = None,
        max_same_refusals: int | None = 100,
    ) -> AsyncGenerator[Outcome, None]:
        """Make any number of calls, many to a request: ``POST /bulk`` (contract §9).

        Each item gets exactly one outcome, as soon as it is known. An item that fails stops only
        the items of its group; what the API did not reach is sent again with the same keys. While
        the API is down, nothing more is pulled and one request at a time probes, for at most
        ``patience`` seconds. Memory is bounded by what is in flight. Leaving the loop stops pulling
        and lets requests in flight end, within ``request_timeout`` and at most 10 seconds.

        ``deadline`` bounds single calls, not a stream; ``patience`` alone bounds an outage. A plain
        iterable is pulled for at most 50 ms at a time so that other tasks can run, but one slow
        ``next()`` blocks the event loop: pass an async iterable for a source that waits.

        Args:
            items: The calls; pulled while there is room.
            chunk_size: Most items in a request.
            max_chunk_bytes: Largest request, in bytes; one item alone may be larger.
            concurrency: Most requests in flight; fewer while the API answers slowly or refuses.
            patience: Seconds that the API may be down, or refuse an item for the moment. A longer
                ``Retry-After`` ends the run at once.
            ordered: Whether outcomes come in the order of the items.
            group: What an item's group is, a callable or the name of a field: items of a group
                keep their order, and never travel in two requests at once.
            max_failures: Failed items after which the run stops.
            max_same_refusals: Items refused in a row with the same code and field names after which
                the run stops if none has succeeded; None for no limit.

        Returns:
            The outcomes. A cancelled ``anext`` loses none: the next one goes on.

        Raises:
            PrefactorHttpError: The run ended early, after an outcome for each item taken in.
            TypeError: The source cannot be iterated.
            ValueError: A bound is out of range.
        """
        options = BatchOptions(
            chunk_size=chunk_size,
            max_chunk_bytes=max_chunk_bytes,
            concurrency=concurrency,
            patience=patience,
            ordered=ordered,
            max_failures=max_failures,
            max_same_refusals=max_same_refusals,
        )
        # Not at the top: 1 % of start-up, and most processes stream nothing.
        from prefactor_http._batch_items import item_maker  # noqa: PLC0415
        from prefactor_http._batch_source import Source  # noqa: PLC0415
        from prefactor_http._batch_stream import OutcomeStream  # noqa: PLC0415

        source = Source(items, item_maker(group), self._client.clock)
        return OutcomeStream(self._client, source, options, _api.STREAM)


__all__ = ["BulkClient"]
