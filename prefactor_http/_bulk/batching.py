"""Runs calls through a batcher: what a client uses whose calls share requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TypeVar, Unpack, cast

from prefactor_http._bulk.batcher import Batcher
from prefactor_http._bulk.call import BatchBounds
from prefactor_http._http.captured_response import captures_of
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.errors import annotate_cancellation, build_error
from prefactor_http._http.executor import Executor
from prefactor_http._http.retry import Retry
from prefactor_http._http.state import OTHER_LOOP, ClientState
from prefactor_http.config import HttpClientConfig, Options
from prefactor_http.exceptions import PrefactorClientError

T = TypeVar("T")


class BatchedRetry(Retry):
    """Runs calls, those with a bulk type through a `Batcher`."""

    def __init__(self, config: HttpClientConfig, state: ClientState, batcher: Batcher) -> None:
        super().__init__(config, state)
        self._batcher = batcher
        self._lanes = batcher.lanes_for(config)

    async def run(self, prepared: PreparedRequest[T]) -> T:
        """Run a call; see `Retry.run`."""
        if (
            not prepared.operation.is_batchable
            # These run the call with a capture or within the deadline, by this method.
            or (self.state.capture_count and prepared.capture is None and captures_of(self.state))
            or (self.config.deadline is not None and prepared.expires_at is None)
        ):
            return await super().run(prepared)
        batcher = self._batcher
        try:
            self.state.check_usable()
            is_lone = batcher.begin_lone(prepared, self._lanes)
            call = None if is_lone else batcher.submit(prepared, self._lanes)
        except PrefactorClientError as error:
            build_error(prepared, error, is_exhausted=False)  # adds method, path and key
            raise
        if call is None:
            try:
                return await super().run(prepared)
            finally:
                batcher.end_lone(prepared)
        try:
            result: T | object = await call.turn
        except asyncio.CancelledError as exc:
            batcher.abandon(call)
            annotate_cancellation(prepared, exc)
            exc.__traceback__ = None
            raise
        if result is not Batcher.ALONE:
            return cast("T", result)
        is_ok = False
        prepared.is_timed = True
        try:
            own_result = await super().run(prepared)
            is_ok = True
        finally:
            batcher.finish_alone(call, is_ok=is_ok)
        return own_result


class BatchingExecutor(Executor):
    """Runs the calls of a client that batches them.

    Args:
        config: Options of the calls.
        state: The state that the client and its views share.
        batcher: Groups the calls.
    """

    def __init__(self, config: HttpClientConfig, state: ClientState, batcher: Batcher) -> None:
        super().__init__(config, state)
        self._batcher = batcher
        self._retry = BatchedRetry(config, state, batcher)

    def with_options(self, **options: Unpack[Options]) -> BatchingExecutor:
        """Return an executor with other options, which batches its calls in the same way."""
        return BatchingExecutor(replace(self.config, **options), self.state, self._batcher)

    def key(self, given: str | None) -> str:
        """Validate the caller's idempotency key, or generate one; see `Executor.key`."""
        if given is None and self.config.default_idempotency_key is None:
            return self._batcher.new_key()
        return super().key(given)

    async def close(self, drain_timeout: float) -> None:
        """Send the calls that wait, and reject new ones. In a forked child, only reject new ones.

        Raises:
            PrefactorClientError: The client is open on another event loop.
        """
        if self.state.is_elsewhere():
            raise PrefactorClientError(OTHER_LOOP)
        self._batcher.is_closed = True
        if self.state.is_inherited:
            self._batcher.forget()  # the parent process has these calls, too
        await self._batcher.drain(drain_timeout)


def batching(executor: Executor, bounds: BatchBounds) -> BatchingExecutor:
    """Return an executor with the same options that batches its calls."""
    plain = Executor(executor.config, executor.state)
    return BatchingExecutor(executor.config, executor.state, Batcher(plain, bounds))
