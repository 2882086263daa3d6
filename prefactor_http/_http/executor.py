"""Executes the calls of a client or of one of its views."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar, Unpack

from prefactor_http._http.clock import Clock
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.encoding import encode
from prefactor_http._http.operation import Operation
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.retry import Retry
from prefactor_http._http.span_instances import SpanInstances
from prefactor_http._http.state import ClientState
from prefactor_http._values import as_text
from prefactor_http.config import HttpClientConfig, Options
from prefactor_http.idempotency import check_key, new_key

T = TypeVar("T")


class Executor:
    """Encodes calls and runs them under one configuration.

    Endpoints and batches receive an executor instead of the client, so that the client's public
    attributes are what users need and nothing else.

    Args:
        config: The options of its calls.
        state: What a client shares with its views.
    """

    def __init__(self, config: HttpClientConfig, state: ClientState) -> None:
        self.config = config
        self.state = state
        self._retry = Retry(config, state)

    @property
    def clock(self) -> Clock:
        """Clock of timestamps and waits."""
        return self.state.clock

    @property
    def span_instances(self) -> SpanInstances:
        """The instances of open spans."""
        return self.state.span_instances

    @property
    def redactor(self) -> Redactor:
        """Removes the token from text."""
        return self.state.redactor

    def with_options(self, **options: Unpack[Options]) -> Executor:
        """Make an executor that differs in some options and shares everything else."""
        return Executor(replace(self.config, **options), self.state)

    def key(self, given: str | None) -> str:
        """Check a caller's idempotency key, or create one (contract §10).

        Raises:
            ValueError: The caller's key is not allowed.
        """
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
        needs_new_connection: bool = False,
    ) -> Coroutine[Any, Any, T]:
        """Make a call that `prefactor_http._api` declares; endpoint methods end here.

        Args:
            operation: The operation.
            request: Its body, with the idempotency key in it, or one in each item, which may be
                encoded already; None for a read.
            resource_id: The id in its path.
            needs_new_connection: Whether it must not be sent over a pooled connection.

        Returns:
            The operation's result, to be awaited.
        """
        try:
            prepared = self._prepare(
                operation, request, resource_id, needs_new_connection=needs_new_connection
            )
        except (TypeError, ValueError):
            request = None  # error reports show the variables of each frame
            raise
        return self._retry.run(prepared)

    async def send_items(
        self, operation: Operation[T], request: Any, *, needs_new_connection: bool = False
    ) -> tuple[T, bool]:
        """Make a bulk call; also tell whether an earlier attempt may have been applied."""
        prepared = self._prepare(
            operation, request, None, needs_new_connection=needs_new_connection
        )
        return await self._retry.run(prepared), prepared.outcome_unknown

    async def read(
        self, operation: Operation[T], params: Mapping[str, str], resource_id: str | None = None
    ) -> T:
        """Make a reading call with query parameters."""
        path = operation.path_for(resource_id)
        return await self.run(
            PreparedRequest(operation, path, params=params, resource_id=resource_id)
        )

    def run(self, prepared: PreparedRequest[T]) -> Coroutine[Any, Any, T]:
        """Run a prepared call."""
        return self._retry.run(prepared)

    def _prepare(
        self,
        operation: Operation[T],
        request: Any,
        resource_id: str | None,
        *,
        needs_new_connection: bool,
    ) -> PreparedRequest[T]:
        if resource_id is not None and type(resource_id) is not str:
            resource_id = as_text(resource_id) or resource_id
        prepared = PreparedRequest(operation, operation.path_for(resource_id))
        prepared.needs_new_connection = needs_new_connection
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
