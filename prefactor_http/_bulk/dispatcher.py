"""Processes the responses to bulk requests: what `engine` (jobs) and `batcher` (calls) share.

A response says for each item of its request whether it was applied, refused or not attempted (see
`chunk_result`). A request without a response may have been applied. Each item remembers this: a
later refusal that its own success can have caused is verified by reading the resource (see
`_http.reconciliation`), and an item that ends without an answer is `unknown`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from prefactor_http import _api
from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.chunk_result import ChunkResult, FailedItem, Success
from prefactor_http._bulk.concurrency import ConcurrencyController
from prefactor_http._bulk.outcome import State
from prefactor_http._bulk.output import may_follow_own_success
from prefactor_http._bulk.queue import BatchQueue, Chunk
from prefactor_http._http.codec import describe
from prefactor_http._http.executor import Executor
from prefactor_http._http.operation import Applied, Operation
from prefactor_http._http.reconciliation import Reconciled, may_reconcile, reconcile
from prefactor_http._http.reporting import LOG
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorClientError,
    PrefactorHttpError,
    PrefactorResponseContractError,
    is_transient_http_error,
)
from prefactor_http.models.agent_span import AgentSpanReply

_MAX_MALFORMED = 2
_MAX_CONTRADICTIONS = 1
_OK = 200
_MISSING = "the response has no output for an item that the API must have attempted"


class Dispatcher(ABC):
    """Resolves the items of requests that were answered, or sends them again.

    Args:
        executor: Sends the requests, and the reads that verify unknown outcomes.
        controller: Adapts the number and the size of requests.
        queue: The items that wait.
    """

    def __init__(
        self, executor: Executor, controller: ConcurrencyController, queue: BatchQueue
    ) -> None:
        self._clock = executor.clock
        self._redactor = executor.redactor
        self._span_instances = executor.span_instances
        self._seen = executor.state.seen
        self._reader = executor.with_options(deadline=None)
        self._controller = controller
        self._queue = queue
        self._reconciling: dict[asyncio.Task[None], BatchItem] = {}
        self._successes = 0  # requests with a successful response

    # What jobs and calls do differently

    @abstractmethod
    def _succeed(self, successes: list[Success]) -> None:
        """Resolve items that were applied."""

    @abstractmethod
    def _resolve_verified(self, item: BatchItem, result: object) -> None:
        """Resolve an item whose success was verified by reading its resource."""

    @abstractmethod
    def _resolve_as(
        self, item: BatchItem, state: State, error: Exception, raw: bytes | None = None
    ) -> None:
        """Resolve an item that was not applied, or whose outcome is unknown."""

    @abstractmethod
    def _on_transient_error(
        self, item: BatchItem, error: PrefactorApiError, raw: bytes, now: float
    ) -> bool:
        """Handle an error of an item that may go away. Returns whether the item is held."""

    @abstractmethod
    def _may_repeat(self, item: BatchItem) -> bool:
        """Whether an item without a usable output may be sent again."""

    @abstractmethod
    def _on_reconciled(self) -> None:
        """Continue after the outcome of a held item was verified."""

    def _is_transient(self, item: BatchItem, error: PrefactorApiError) -> bool:  # noqa: ARG002
        """Whether a refused item may succeed later."""
        return is_transient_http_error(error)

    def _on_requeued(self, items: list[BatchItem]) -> None:  # noqa: B027 # jobs count nothing
        """Note that items of a request wait again."""

    def _changes_route(self, item: BatchItem, error: PrefactorApiError) -> bool:  # noqa: ARG002
        """Whether to send a refused item again, in another way."""
        return False

    # Requests with a successful response

    def _on_response(self, chunk: Chunk, result: ChunkResult, seconds: float, now: float) -> None:
        self._successes += 1
        chunk.ok, failed = {item.key for item, _, _ in result.ok}, len(result.failed)
        self._controller.record_response(
            now, seconds, len(chunk.items), len(result.ok) + failed, failed
        )
        for _, own_result, raw in result.ok:
            if raw is not None and isinstance(own_result, AgentSpanReply):
                self._remember_span(own_result)
        self._succeed(result.ok)
        if len(result.ok) == len(chunk.items):
            self._queue.dissolve(chunk)
            return
        if result.missing or result.contradicted:
            self._seen.suspect_connections(now)
        self._on_items_left(chunk, result, now)

    def _on_items_left(self, chunk: Chunk, result: ChunkResult, now: float) -> None:
        """Resolve the items of an answered request that are not ok, or send them again."""
        requeued = {item.key for item in result.not_attempted}
        missing = {item.key for item in result.missing}
        problems = {item.key: problem for item, problem in result.contradicted}
        problems |= dict.fromkeys(missing, _MISSING)
        failed_items = {failed.item.key: failed for failed in result.failed}
        held: list[BatchItem] = []
        repeated: list[BatchItem] = []
        for item in chunk.items:
            problem, failed = problems.get(item.key), failed_items.get(item.key)
            if problem is None and failed is None and item.key not in requeued:
                continue  # ok
            item.history.attempts += 1
            # There is no output, or one that cannot be trusted.
            item.history.outcome_unknown |= problem is not None or (
                failed is not None and failed.error.outcome_unknown
            )
            ahead = held if problem is not None else [*held, *repeated]
            if any(item.group is not None and item.group == other.group for other in ahead):
                requeued.add(item.key)  # behind another item of its group
            elif failed is not None:
                if isinstance(failed.error, PrefactorApiError) and self._changes_route(
                    item, failed.error
                ):
                    requeued.add(item.key)
                elif self._on_failed_item(item, failed, now):
                    held.append(item)
            elif problem is not None:
                limit = _MAX_MALFORMED if item.key in missing else _MAX_CONTRADICTIONS
                if self._on_unanswered(item, problem, limit):
                    repeated.append(item)
        rest = [item for item in chunk.items if item.key in requeued]
        self._queue.dissolve(chunk, rest, [*held, *repeated])
        self._on_requeued(rest)
        if repeated:
            groups = {item.group for item in repeated} - {None}
            self._queue.retry(Chunk(repeated, groups, needs_new_connection=True))

    def _on_failed_item(self, item: BatchItem, failed: FailedItem, now: float) -> bool:
        """Handle an output that is not a success.

        Returns:
            Whether the item is held, to be sent again or resolved later.
        """
        error = failed.error
        if not isinstance(error, PrefactorApiError):
            self._resolve_as(item, State.UNKNOWN, item.describe(error), failed.raw)
            return False
        if self._is_transient(item, error):
            return self._on_transient_error(item, error, failed.raw, now)
        return self._on_refusal(item, error, failed.raw, is_whole=False)

    def _on_unanswered(self, item: BatchItem, problem: str, limit: int) -> bool:
        """Handle an item that has no output, or that of another resource.

        Returns:
            Whether to send it again, on a new connection.
        """
        item.history.unanswered += 1
        if item.history.unanswered <= limit and self._may_repeat(item):
            return True
        error = PrefactorResponseContractError(f"{item.type}: {problem}", status_code=_OK)
        self._resolve_as(item, State.UNKNOWN, item.describe(error))
        return False

    def _remember_span(self, reply: AgentSpanReply) -> None:
        span = reply.details
        if span.finished_at is None:
            self._span_instances.remember(span.id, span.agent_instance_id)
        else:
            self._span_instances.forget(span.id)

    # Refusals

    def _on_refusal(
        self,
        item: BatchItem,
        error: PrefactorApiError,
        raw: bytes | None,
        *,
        is_whole: bool,
    ) -> bool:
        """Handle the API's own refusal of an item, or of a request that contained only it.

        Returns:
            Whether the item is held, because its outcome is being verified.
        """
        if not item.history.outcome_unknown:
            self._resolve_as(item, State.FAILED, item.describe(error), raw)
            return False
        operation = _api.BY_BULK_TYPE.get(item.type)
        if operation is not None:
            fields = item.fields
            if may_reconcile(operation, fields, error):
                verify = self._reconcile(item, operation, fields, error, raw)
                self._reconciling[asyncio.create_task(verify)] = item
                return True
        # The refusal of a whole request says nothing about an earlier request.
        item.history.outcome_unknown = is_whole or may_follow_own_success(item.type, error)
        self._resolve_failed(item, item.describe(error), raw)
        return False

    async def _reconcile(
        self,
        item: BatchItem,
        operation: Operation[Any],
        fields: Mapping[str, Any],
        error: PrefactorApiError,
        raw: bytes | None,
    ) -> None:
        """Find out whether an earlier request has caused a refusal."""
        resource_id = fields.get(operation.path_field or "")
        try:
            found = await reconcile(
                self._read, operation, fields, resource_id, self._span_instances.get(resource_id)
            )
        except Exception as exc:  # noqa: BLE001 # such as an id that is not a str
            found = Reconciled(Applied.UNKNOWN, error=self._unexpected(exc))
        if found.error is not None:
            LOG.warning(
                "could not verify the outcome of %s (key %s): %s",
                item.type,
                item.key,
                describe(found.error),
            )
        if found.applied is Applied.YES:
            self._resolve_verified(item, found.result)
        else:
            item.history.outcome_unknown = found.applied is Applied.UNKNOWN
            self._resolve_failed(item, item.describe(error), raw)
        self._queue.release_group(item.group)
        self._on_reconciled()

    async def _read(
        self, operation: Operation[Any], resource_id: str | None, params: Mapping[str, str] | None
    ) -> Any:
        if params is None:
            return await self._reader.send(operation, None, resource_id)
        return await self._reader.read(operation, params, resource_id)

    def _resolve_failed(self, item: BatchItem, error: Exception, raw: bytes | None = None) -> None:
        state = State.UNKNOWN if item.history.outcome_unknown else State.FAILED
        self._resolve_as(item, state, error, raw)

    def _unexpected(self, exc: BaseException) -> PrefactorHttpError:
        """Wrap an exception that is not of this package."""
        if isinstance(exc, PrefactorHttpError):
            return exc
        text = self._redactor.text(f"unexpected {type(exc).__name__}: {exc}")
        error = PrefactorClientError(text)
        error.__cause__ = exc
        error.outcome_unknown = True  # it may have been raised after the request was sent
        return error
