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

        The API stops at the first call that fails; those before it have taken effect. When the
        request itself fails, sending it again with the same keys repeats no call.

        Args:
            request: The calls. One on something that has a path of its own names it in a field,
                such as ``agent_instance_id``.

        Returns:
            Each call's output by its key, the keys of the calls that were not attempted, and
            those of the calls that may have been. An output's ``decode()`` gives the call's
            result, or raises its error.

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

        Each item has exactly one outcome, given as it is known. An item that fails stops no other
        one, except those of its group: a request that fails is split until the item that makes it
        fail is alone, and everything else is sent again with the same keys. While the API is down
        nothing more is taken in, and one small request at a time asks whether it is up again.
        Memory is bounded by what is in flight.

        A plain source is pulled for at most 50 ms at a time; one slow ``next()`` blocks the event
        loop. A request is sent when it is full, or after 0.5 s.

        A task that waits for the next outcome can be cancelled, as by ``asyncio.wait_for``: the
        stream goes on, and the next outcome can be asked for again. To leave the loop early, use
        `contextlib.aclosing`: the stream sends nothing more, and waits for requests in flight as
        long as one attempt may take (``request_timeout``), at most 10 seconds.

        The client's ``deadline`` is for one call and does not apply: ``patience`` bounds a stream,
        and ``max_retries`` does not count its requests.

        Args:
            items: The calls; pulled while there is room.
            chunk_size: Most items in a request.
            max_chunk_bytes: Largest request, in bytes; one item alone may be larger.
            concurrency: Most requests in flight; fewer while the API answers slowly or refuses.
            patience: Seconds that the API may be down, or may refuse an item for the moment. If
                the API asks to wait for longer (``Retry-After``), the run ends at once.
            ordered: Whether outcomes come in the order of the items.
            group: The group of an item, a callable or the name of a field: items of a group keep
                their order, and are never in two requests at once.
            max_failures: Failed items after which the run stops.
            max_same_refusals: Items after which the run stops if all of them were refused in a row
                for the same reason and none has succeeded; None for never.

        Returns:
            The outcomes. Keep an outcome as long as you like: it holds nothing but its own item.

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
