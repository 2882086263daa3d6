"""Bulk: many calls in one request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Unpack

from prefactor_http._bulk.execute import execute
from prefactor_http._bulk.operation import STREAM
from prefactor_http._bulk.options import Group, StreamOptions, batch_options
from prefactor_http._bulk.outcome import Outcome
from prefactor_http.endpoints._base import EndpointClient
from prefactor_http.models.bulk import BulkItem, BulkRequest, BulkResponse


class BulkClient(EndpointClient):
    """Calls made together (contract §9); `PrefactorHttpClient.bulk` is one."""

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
        return await execute(self._executor, request)

    def stream(
        self,
        items: Iterable[BulkItem] | AsyncIterable[BulkItem],
        *,
        group: Group = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """Make any number of calls, many to a request: ``POST /bulk`` (contract §9).

        Each item gets exactly one outcome, as soon as it is known. An item that fails stops only
        the items of its group; what the API did not reach is sent again with the same keys. While
        the API is down, nothing more is pulled and one request at a time probes, for at most
        ``max_outage`` seconds. Memory is bounded by what is in flight. Leaving the loop stops
        pulling and lets requests in flight end, within ``request_timeout`` and at most 10 seconds.

        ``deadline`` bounds single calls, not a stream; ``max_outage`` alone bounds an outage. A
        plain iterable is pulled for at most 50 ms at a time so that other tasks can run, but one
        slow ``next()`` blocks the event loop: pass an async iterable for a source that waits.

        Args:
            items: The calls; pulled while there is room.
            group: The group of an item, a callable or the name of a field: items of a group keep
                their order, and are never in two requests at once.
            **options:
                ``chunk_size``: most items in a request, 100.
                ``max_chunk_bytes``: largest request in bytes, 1,000,000; one item alone may be
                larger.
                ``concurrency``: most requests in flight, 8; fewer while the API answers slowly or
                rejects requests.
                ``max_outage``: longest outage of the API, or time that it rejects an item for the
                moment, in seconds, 300. A longer ``Retry-After`` ends the run immediately.
                ``ordered``: whether outcomes come in the order of the items, False.
                ``max_failures``: failed items after which the run stops, None for no limit.
                ``max_same_refusals``: items refused in a row with the same code and field names
                after which the run stops if none has succeeded, 100; None for no limit.

        Returns:
            The outcomes. A cancelled ``anext`` loses none: the next one goes on.

        Raises:
            PrefactorHttpError: The run ended early, after an outcome for each item taken in.
            TypeError: The source cannot be iterated, or an option is unknown.
            ValueError: A bound is out of range.
        """
        bounds = batch_options(options)
        # Not at the top: 1 % of start-up, and most processes stream nothing.
        from prefactor_http._bulk.item_encoder import bulk_item_encoder  # noqa: PLC0415
        from prefactor_http._bulk.source import Source  # noqa: PLC0415
        from prefactor_http._bulk.stream import OutcomeStream  # noqa: PLC0415

        source = Source(items, bulk_item_encoder(group), self._executor.clock)
        return OutcomeStream(self._executor, source, bounds, STREAM)


__all__ = ["BulkClient"]
