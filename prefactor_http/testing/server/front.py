"""The door of the API: who asks, for what, and is there room; then the work itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from prefactor_http.testing.faults.item_faults import ItemFaults
from prefactor_http.testing.resources.action import Action
from prefactor_http.testing.resources.domain import Domain
from prefactor_http.testing.resources.response import ApiError, not_found
from prefactor_http.testing.server.api import Answer, Api, refusal, writes_of
from prefactor_http.testing.server.key_store import KeyStore
from prefactor_http.testing.server.ledger import Ledger
from prefactor_http.testing.server.rate_limit import TokenBucket
from prefactor_http.testing.server.request import Work, bulk, single
from prefactor_http.testing.server.routes import BULK, find_action, is_bulk

_KEY = "idempotency_key"


class IncomingRequest:
    """One request: what it asks for, and the body it came with.

    Attributes:
        request: As aiohttp read it.
        operation: Such as ``agent_instances.register``; None for an unknown path.
        body: Its bytes, once they are read.
    """

    __slots__ = ("body", "is_bulk", "operation", "path", "request", "target")

    def __init__(self, request: web.BaseRequest) -> None:
        self.request: web.BaseRequest = request
        self.body: bytes = b""
        self.path: str = request.raw_path.partition("?")[0]
        self.is_bulk: bool = is_bulk(request.method, self.path)
        self.target: tuple[Action, str | None] | None = find_action(request.method, self.path)
        self.operation: str | None = None
        if self.is_bulk:
            self.operation = BULK
        elif self.target is not None:
            self.operation = self.target[0].name


class Front:
    """Answers calls."""

    def __init__(
        self,
        *,
        domain: Domain,
        item_faults: ItemFaults,
        keys: KeyStore,
        ledger: Ledger,
        bucket: TokenBucket | None,
        largest_request: int | None,
    ) -> None:
        self._domain = domain
        self._api = Api(domain.account, keys, ledger, item_faults)
        self._keys = keys
        self._ledger = ledger
        self._bucket = bucket
        self._largest_request = largest_request

    def turn_away(self, call: IncomingRequest, *, for_good: bool) -> None:
        """Note the writes of a call that is refused before anything of it is run.

        Args:
            call: The call.
            for_good: Whether the refusal is final, so that nothing is lost by it.
        """
        try:
            works = self._decipher(call)
        except ApiError:
            return  # What cannot be read asks for nothing.
        self._api.reached(works)
        if for_good:
            for action, key in writes_of(works):
                self._ledger.refused(action, key)

    async def answer(
        self, call: IncomingRequest, delay: Callable[[], Awaitable[None]] | None = None
    ) -> Answer:
        """Answer a call.

        Args:
            call: The call.
            delay: Is awaited while the keys of the call count as at work.
        """
        try:
            token = self._domain.tokens.bearer(call.request.headers.get("Authorization"))
            if self._bucket is not None:
                self._bucket.take()
            works = self._decipher(call)
        except ApiError as error:
            return refusal(error)
        self._api.reached(works)
        writes = writes_of(works)
        await self._keys.settled(writes)
        if delay is not None:
            done = self._keys.begin(writes)
            try:
                await delay()
            finally:
                self._keys.end(done)
        context = self._domain.context(token)
        if call.is_bulk:
            return self._api.run_bulk(context, works)
        return self._api.run_single(context, works[0])

    def _decipher(self, call: IncomingRequest) -> list[Work]:
        if self._largest_request is not None and len(call.body) > self._largest_request:
            raise ApiError(413, "payload_too_large", "The request is too large.")
        if call.is_bulk:
            return bulk(call.body, longest_key=self._keys.policy.longest_bulk_key)
        if call.target is None:
            raise not_found(call.path)
        action, resource_id = call.target
        query = call.request.query
        if not action.writes and (_KEY in query or call.body):
            self._ledger.violations.append(
                f"{call.request.method} {call.path} carries a key or body"
            )
        return [single(action, resource_id, query.items(), call.body)]
