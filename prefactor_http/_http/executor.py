"""Executor: encodes the calls of endpoints and batches and runs them with retries."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar, Unpack

from prefactor_http._http.background import BackgroundTasks
from prefactor_http._http.clock import Clock
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.encoding import encode
from prefactor_http._http.observer import installed
from prefactor_http._http.operation import Operation
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.retry import Retry
from prefactor_http._http.span_instances import SpanInstances
from prefactor_http._http.state import ClientState
from prefactor_http._values.plain import as_text
from prefactor_http.config import HttpClientConfig, Options
from prefactor_http.idempotency import check_key, new_key

T = TypeVar("T")


class Executor:
    """Runs the calls of a client, or of one of its views.

    Endpoints and batches receive an executor instead of the client. So the client's public
    attributes are only those that users need.

    Args:
        config: Options of the calls.
        state: The state that the client and its views share.
    """

    def __init__(self, config: HttpClientConfig, state: ClientState) -> None:
        self.config = config
        self.state = state
        self._retry = Retry(config, state)

    @property
    def clock(self) -> Clock:
        return self.state.clock

    @property
    def background(self) -> BackgroundTasks:
        return self.state.background

    @property
    def span_instances(self) -> SpanInstances:
        return self.state.span_instances

    @property
    def redactor(self) -> Redactor:
        return self.state.redactor

    def with_options(self, **options: Unpack[Options]) -> Executor:
        """Return an executor with other options and the same state."""
        return Executor(replace(self.config, **options), self.state)

    def key(self, given: str | None) -> str:
        """Validate the caller's idempotency key, or generate one (contract §10)."""
        if given is not None:
            return check_key(given)
        prefix = self.config.default_idempotency_key
        key = new_key()
        return key if prefix is None else f"{prefix}-{key}"

    def send(
        self,
        operation: Operation[T],
        request: Any = None,
        resource_id: str | None = None,
        *,
        items: int | None = None,
        needs_new_connection: bool = False,
    ) -> Coroutine[Any, Any, T]:
        """Call an operation of `prefactor_http._api`. Every endpoint method ends here.

        Args:
            operation: The operation.
            request: The body, as a Struct or as encoded JSON. It contains the idempotency key, or
                one key per item. None for a read.
            resource_id: The id in the path.
            items: Number of items in a bulk request.
            needs_new_connection: Whether the call must not use a pooled connection.

        Returns:
            An awaitable of the operation's result.
        """
        try:
            prepared = self._prepare(operation, request, resource_id)
        except (TypeError, ValueError):
            request = None  # error reports show the variables of each frame
            raise
        prepared.needs_new_connection = needs_new_connection
        prepared.items = items
        return self.run(prepared)

    async def send_items(
        self,
        operation: Operation[T],
        request: Any,
        *,
        items: int,
        needs_new_connection: bool = False,
    ) -> tuple[T, bool]:
        """Send a bulk request; also return whether an earlier attempt may have been applied."""
        prepared = self._prepare(operation, request, None)
        prepared.needs_new_connection = needs_new_connection
        prepared.items = items
        return await self.run(prepared), prepared.outcome_unknown

    async def read(
        self, operation: Operation[T], params: Mapping[str, str], resource_id: str | None = None
    ) -> T:
        """Send a GET with query parameters."""
        path = operation.path_for(resource_id)
        return await self.run(
            PreparedRequest(operation, path, params=params, resource_id=resource_id)
        )

    def run(self, prepared: PreparedRequest[T]) -> Coroutine[Any, Any, T]:
        """Run a prepared call, observed by instrumentation if there is any."""
        call = self._retry.run(prepared)
        if installed.observer is None:
            return call
        return installed.observer.observe(prepared, self.state.transport.base_url, call)

    def _prepare(
        self, operation: Operation[T], request: Any, resource_id: str | None
    ) -> PreparedRequest[T]:
        if resource_id is not None and type(resource_id) is not str:
            resource_id = as_text(resource_id) or resource_id
        prepared = PreparedRequest(operation, operation.path_for(resource_id))
        if request is not None:
            try:
                prepared.body = encode(operation, request)
            except (TypeError, ValueError) as exc:
                request = None  # error reports show the variables of each frame
                raise exc.with_traceback(None) from None
            prepared.key = request.idempotency_key if operation.sends_key else None
            prepared.request = request
        prepared.resource_id = resource_id
        return prepared
