"""Bulk requests: many calls in one request."""

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
    """Bulk requests (contract §9), available as `PrefactorHttpClient.bulk`."""

    async def execute(self, request: BulkRequest) -> BulkResponse:
        """Make calls in one request, in order: ``POST /bulk`` (contract §9).

        The API stops at the first call that fails; the calls before it have been applied. If the
        request itself fails, it can be sent again with the same keys: no call is applied twice.

        A call that fails after the response to an earlier attempt was lost may have been applied by
        that attempt. Its outcome is verified by reading the resource, as for a direct call.

        Args:
            request: The calls. An id that a direct call has in its path is a field of the item,
                such as ``agent_instance_id``.

        Returns:
            The output of each call by its key, and the keys of the calls that were not attempted or
            whose outcome is unknown. ``decode()`` of an output returns the result of the call, or
            raises its error.

        Raises:
            PrefactorHttpError: The request failed as a whole.
            TypeError: The argument is not a `BulkRequest`.
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

        Each item has exactly one outcome, which is yielded as soon as it is known. An item that
        fails stops only the items of its group. Items that the API did not reach are sent again
        with the same keys. While the API is down, no items are pulled and one request at a time
        probes it, for at most ``max_outage`` seconds. Memory is bounded by the items in flight.
        Leaving the loop stops pulling and lets requests in flight finish, within
        ``request_timeout`` and at most 10 seconds.

        ``deadline`` limits single calls, not a stream; only ``max_outage`` limits an outage. A
        plain iterable is pulled for at most 50 ms at a time so that other tasks can run, but a slow
        ``next()`` blocks the event loop: pass an async iterable if the source waits for I/O.

        Args:
            items: The calls.
            group: The group of an item, as a callable or the name of a field. Items of a group keep
                their order and are never in two requests at the same time.
            **options:
                ``chunk_size``: maximum number of items in a request; 100 by default.
                ``max_chunk_bytes``: maximum size of a request in bytes; 1,000,000 by default. A
                single item may be larger.
                ``concurrency``: maximum number of requests in flight; 8 by default. It is reduced
                while the API responds slowly or rejects requests.
                ``max_outage``: maximum duration in seconds of an outage, or of transient rejections
                of one item; 300 by default. A longer ``Retry-After`` ends the stream immediately.
                ``ordered``: whether outcomes are in the order of the items; False by default.
                ``max_failures``: number of failed items after which the stream stops; None, the
                default, for no limit.
                ``max_same_refusals``: number of consecutive items refused with the same code and
                field names after which the stream stops if no item has succeeded; 100 by default,
                None for no limit.

        Returns:
            The outcomes. Cancelling ``anext`` loses no outcome.

        Raises:
            PrefactorHttpError: The stream ended early, after an outcome for each accepted item.
            TypeError: The source cannot be iterated, or an option is unknown.
            ValueError: An option is out of range.
        """
        bounds = batch_options(options)
        # Not at the top: most processes stream nothing and never need these.
        from prefactor_http._bulk.item_encoder import bulk_item_encoder  # noqa: PLC0415
        from prefactor_http._bulk.source import Source  # noqa: PLC0415
        from prefactor_http._bulk.stream import OutcomeStream  # noqa: PLC0415

        source = Source(items, bulk_item_encoder(group), self._executor.clock, "items")
        return OutcomeStream(self._executor, source, bounds, STREAM)


__all__ = ["BulkClient"]
