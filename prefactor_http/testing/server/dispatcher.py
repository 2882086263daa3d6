"""Dispatches requests: authenticates, applies limits, parses, and runs the actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from prefactor_http.testing.resources.action import Action
from prefactor_http.testing.resources.response import ApiError, not_found
from prefactor_http.testing.resources.state import ServerState
from prefactor_http.testing.server.api import Api, ApiResponse, error_response, keyed_writes
from prefactor_http.testing.server.key_store import KeyStore
from prefactor_http.testing.server.ledger import Ledger
from prefactor_http.testing.server.rate_limit import TokenBucket
from prefactor_http.testing.server.request_parser import Invocation, parse_bulk, parse_single
from prefactor_http.testing.server.routes import BULK, find_action, is_bulk

_KEY = "idempotency_key"


class IncomingRequest:
    """A request with its route and body.

    Attributes:
        request: The request as aiohttp parsed it.
        path: The raw path without the query.
        is_bulk: Whether this is the bulk request.
        route: The action and the id in the path; None for an unknown path.
        operation: The operation, such as ``agent_instances.register``; None for an unknown path.
        body: The raw body, empty until it is read.
    """

    __slots__ = ("body", "is_bulk", "operation", "path", "request", "route")

    def __init__(self, request: web.BaseRequest) -> None:
        self.request: web.BaseRequest = request
        self.body: bytes = b""
        self.path: str = request.raw_path.partition("?")[0]
        self.is_bulk: bool = is_bulk(request.method, self.path)
        self.route: tuple[Action, str | None] | None = find_action(request.method, self.path)
        self.operation: str | None = None
        if self.is_bulk:
            self.operation = BULK
        elif self.route is not None:
            self.operation = self.route[0].name


class Dispatcher:
    """Passes requests to the API."""

    def __init__(
        self,
        *,
        state: ServerState,
        api: Api,
        keys: KeyStore,
        ledger: Ledger,
        bucket: TokenBucket | None,
        max_request_size: int | None,
    ) -> None:
        self._state = state
        self._api = api
        self._keys = keys
        self._ledger = ledger
        self._bucket = bucket
        self._max_request_size = max_request_size

    @property
    def takes_time(self) -> bool:
        """Whether a client can disconnect while its request is being worked on."""
        return bool(self._api.service_time)

    def record_refused(self, incoming: IncomingRequest, *, final: bool) -> None:
        """Record the writes of a request that is refused without being run.

        Args:
            incoming: The request.
            final: Whether the error is final. The writes do not count as lost then.
        """
        try:
            invocations = self._parse(incoming)
        except ApiError:
            return  # A request that cannot be parsed has no writes.
        self._api.record_received(invocations)
        if final:
            for write in keyed_writes(invocations):
                self._ledger.record_refusal(write.action, write.key)

    async def dispatch(
        self, incoming: IncomingRequest, delay: Callable[[], Awaitable[None]] | None = None
    ) -> ApiResponse:
        """Run a request and return the response.

        Args:
            incoming: The request.
            delay: Awaited before the actions run, while the request's keys are in progress.
        """
        try:
            token = self._state.tokens.bearer(incoming.request.headers.get("Authorization"))
            if self._bucket is not None:
                self._bucket.take()
            invocations = self._parse(incoming)
        except ApiError as error:
            return error_response(error)
        self._api.record_received(invocations)
        writes = keyed_writes(invocations)
        await self._keys.wait_for_concurrent(writes)
        if delay is not None:
            with self._keys.in_progress(writes):
                await delay()
        context = self._state.context(token)
        if incoming.is_bulk:
            return await self._api.run_bulk(context, invocations)
        return await self._api.run_single(context, invocations[0])

    def _parse(self, incoming: IncomingRequest) -> list[Invocation]:
        if self._max_request_size is not None and len(incoming.body) > self._max_request_size:
            raise ApiError(413, "payload_too_large", "The request is too large.")
        if incoming.is_bulk:
            return parse_bulk(
                incoming.body,
                policy=self._api.bulk_policy,
                max_key_length=self._keys.policy.longest_bulk_key,
            )
        if incoming.route is None:
            raise not_found(incoming.path)
        action, resource_id = incoming.route
        query = incoming.request.query
        if not action.writes and (_KEY in query or incoming.body):
            self._ledger.violations.append(
                f"{incoming.request.method} {incoming.path} carries a key or body"
            )
        return [parse_single(action, resource_id, query.items(), incoming.body)]
