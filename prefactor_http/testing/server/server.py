"""The public class of the local Prefactor API: lifecycle, fault injection and inspection."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from aiohttp import web

from prefactor_http.testing.faults.faults import RANDOM_FAULTS, Fault, FaultKind
from prefactor_http.testing.faults.item_faults import ItemFaults
from prefactor_http.testing.faults.script import FaultScript
from prefactor_http.testing.resources.response import JsonObject, encode
from prefactor_http.testing.resources.state import ServerState
from prefactor_http.testing.server.api import Api
from prefactor_http.testing.server.application import Application
from prefactor_http.testing.server.bulk_policy import BulkPolicy
from prefactor_http.testing.server.delays import Delays
from prefactor_http.testing.server.dispatcher import Dispatcher
from prefactor_http.testing.server.key_store import IdempotencyPolicy, KeyStore
from prefactor_http.testing.server.ledger import Effect, Ledger, Write
from prefactor_http.testing.server.rate_limit import RateLimit, TokenBucket
from prefactor_http.testing.server.recorded_request import RecordedRequest
from prefactor_http.testing.server.stats import build_stats

_STATS_PATH = "/_local/stats"
_SHUTDOWN_TIMEOUT = 1.0
_BACKLOG = 1024


class LocalPrefactor:
    """A Prefactor API that runs in memory and listens on the loopback interface.

    It implements the API's contract, injects the faults you ask for, and records every write that
    takes effect::

        async with LocalPrefactor() as api:
            api.fail_next(FaultKind.APPLIED_THEN_RESET)
            async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
                ...
            assert api.doubled == api.lost == []

    An agent, an environment and a deployment of the agent exist from the start. The state survives
    ``stop()``: after another ``start()`` the server continues on the same port.

    Other threads may read the state while no request is in progress: the server sends a response
    only after it has recorded everything about the request. Faults may be scripted from any thread
    at any time.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free port.
        faults: Fraction of attempts that fail at random, 0 to 1.
        seed: Seed of the random faults and the ids. What exists from the start has the same ids
            for the same seed; later ids contain the current time.
        fault_kinds: Kinds of random faults, chosen with equal probability.
        retry_after: Seconds in the ``Retry-After`` of random 429 and 503 responses.
        stall: Default time in seconds that a stalled response is held back.
        policy: How idempotency keys are treated.
        bulk_policy: How bulk requests are treated.
        record: Whether ``requests`` keeps every attempt.
        rate_limit: The rate limit in requests per second, a bulk request being one request; None
            for no limit.
        service_time: Seconds that the server works on a call or on an item of a bulk request. It
            works on all calls at once, and on the items of a request one after another: a request
            of 50 items takes 50 times as long as a call. The server finishes a request even if the
            client disconnects.
        item_faults: Fraction of bulk items that fail at random with a transient error, 0 to 1.
        largest_request: Maximum body size in bytes; larger requests get a 413. None for no limit.
        close_spans_on_terminate: Whether terminating an instance cancels its open spans.
        refuse_version_clashes: Whether a version's ``external_identifier`` with different content
            is refused with a 422.
        on_request: Called with each attempt after it was handled, also with ``record=False``.

    Attributes:
        token: An account token.
        deployment_token: A token bound to ``deployment_id``.
        account_id: The account.
        agent_id: The agent that exists from the start.
        environment_id: The environment that exists from the start.
        deployment_id: The deployment that exists from the start.

    Raises:
        ValueError: ``faults`` or ``item_faults`` is not between 0 and 1.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: float = 0.0,
        seed: int = 0,
        fault_kinds: Sequence[FaultKind] = RANDOM_FAULTS,
        retry_after: int = 0,
        stall: float = 30.0,
        policy: IdempotencyPolicy | None = None,
        bulk_policy: BulkPolicy | None = None,
        record: bool = True,
        rate_limit: RateLimit | None = None,
        service_time: float = 0.0,
        item_faults: float = 0.0,
        largest_request: int | None = None,
        close_spans_on_terminate: bool = False,
        refuse_version_clashes: bool = False,
        on_request: Callable[[RecordedRequest], object] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._ledger = Ledger()
        self._keys = KeyStore(policy or IdempotencyPolicy(), time.monotonic)
        self._script = FaultScript(
            rate=faults, seed=seed, kinds=fault_kinds, retry_after=retry_after
        )
        self._state = ServerState(
            seed,
            close_spans_on_terminate=close_spans_on_terminate,
            refuse_version_clashes=refuse_version_clashes,
        )
        self._item_faults = ItemFaults(rate=item_faults, seed=seed)
        delays = Delays()
        self._api = Api(
            account=self._state.account,
            keys=self._keys,
            ledger=self._ledger,
            item_faults=self._item_faults,
            bulk_policy=bulk_policy or BulkPolicy(),
            service_time=service_time,
            delays=delays,
        )
        dispatcher = Dispatcher(
            state=self._state,
            api=self._api,
            keys=self._keys,
            ledger=self._ledger,
            bucket=None if rate_limit is None else TokenBucket(rate_limit, time.monotonic),
            max_request_size=largest_request,
        )
        self._application = Application(
            dispatcher=dispatcher,
            keys=self._keys,
            script=self._script,
            delays=delays,
            stall=stall,
            record=record,
            on_request=on_request,
        )
        self.account_id: str = self._state.account.account_id
        self.environment_id: str = self._state.environment["id"]
        self.agent_id: str = self._state.agent["id"]
        self.deployment_id: str = self._state.deployment["id"]
        self.token: str = self._state.tokens.add("local-account-token")
        self.deployment_token: str = self._state.tokens.add(
            "local-deployment-token", self._state.deployment
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start listening.

        Raises:
            OSError: The port is in use.
            RuntimeError: The server is already listening.
        """
        if self._runner is not None:
            raise RuntimeError("The local API is already listening.")
        self._application.open()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG)
        opening = asyncio.ensure_future(site.start())
        try:
            # asyncio does not close the socket if it is cancelled while it opens one.
            await asyncio.shield(opening)
        except BaseException:
            await asyncio.gather(opening, return_exceptions=True)
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, end all stalls and close all connections. Safe to call more than once."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self._application.close()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == _STATS_PATH:
            return web.Response(body=encode(self.stats()), content_type="application/json")
        return await self._application.handle(request)

    @property
    def url(self) -> str:
        """The base URL. The port is known after the first ``start()``."""
        return f"http://{self._host}:{self._port}"

    def fail_next(
        self,
        *faults: Fault | FaultKind,
        method: str | None = None,
        path: str | None = None,
        operation: str | None = None,
    ) -> None:
        """Make the next matching attempts fail, one fault per attempt, in this order.

        Args:
            *faults: The faults; a ``FaultKind`` stands for a ``Fault`` with default options.
            method: Match only this HTTP method.
            path: Match only this path, with or without ``/api/v1``; ``*`` is a wildcard.
            operation: Match only this operation, such as ``agent_instances.register`` or
                ``bulk.execute``.
        """
        self._script.add(faults, method=method, path=path, operation=operation)

    def fail_next_item(self, *codes: str, key: str | None = None) -> None:
        """Make the next bulk items fail with transient errors, one per item, in this order.

        Args:
            *codes: ``rate_limited``, ``internal_server_error``, ``service_unavailable`` or
                ``idempotency_in_progress``.
            key: Match only items with this idempotency key.

        Raises:
            ValueError: A code is not one of these.
        """
        self._item_faults.add(codes, key)

    def calm(self) -> None:
        """Remove all scripted faults that have not occurred yet, and stop random faults."""
        self._script.clear()
        self._item_faults.clear()

    @property
    def faults_pending(self) -> int:
        """The number of scripted faults that have not occurred yet."""
        return self._script.pending

    @property
    def policy(self) -> IdempotencyPolicy:
        """How idempotency keys are treated. May be replaced at any time."""
        return self._keys.policy

    @policy.setter
    def policy(self, policy: IdempotencyPolicy) -> None:
        self._keys.policy = policy

    @property
    def bulk_policy(self) -> BulkPolicy:
        """How bulk requests are treated. May be replaced at any time."""
        return self._api.bulk_policy

    @bulk_policy.setter
    def bulk_policy(self, policy: BulkPolicy) -> None:
        self._api.bulk_policy = policy

    @property
    def service_time(self) -> float:
        """Seconds that the server works on a call or a bulk item. May be changed at any time."""
        return self._api.service_time

    @service_time.setter
    def service_time(self, seconds: float) -> None:
        self._api.service_time = seconds

    def forget_keys(self, actions: Iterable[str]) -> None:
        """Forget the keys of these actions, as if they had expired.

        Args:
            actions: Action names, such as ``agent_instances.start``.
        """
        self._keys.forget(actions)

    def set_token_active(self, token: str, active: bool) -> None:
        """Activate or suspend a token.

        Args:
            token: The token.
            active: False suspends the token; requests with it get a 401.

        Raises:
            KeyError: The token does not exist.
        """
        self._state.tokens.set_active(token, active)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every attempt in the order of arrival; empty with ``record=False``."""
        return self._application.log.requests

    @property
    def effects(self) -> list[Effect]:
        """Every write that took effect, in order. Each bulk item is a separate entry."""
        return self._ledger.effects

    @property
    def doubled(self) -> list[Write]:
        """The keyed writes that took effect more than once."""
        return self._ledger.doubled

    @property
    def lost(self) -> list[Write]:
        """The keyed writes that the server received, did not finally refuse, and never applied.

        A final refusal is a 4xx other than 408, 425, 429 and ``idempotency_in_progress``.
        """
        return self._ledger.lost

    @property
    def bytes_changed(self) -> list[Write]:
        """The keyed writes whose attempts sent different bytes."""
        return self._ledger.bytes_changed

    @property
    def keys_reused(self) -> list[Write]:
        """The keyed writes that were repeated with other content after they took effect."""
        return self._ledger.content_changed

    @property
    def violations(self) -> list[str]:
        """Requests that violate the contract but were accepted, such as a GET with a key."""
        return self._ledger.violations

    @property
    def replays(self) -> int:
        """The number of writes that got the stored response of their key."""
        return self._ledger.replays

    @property
    def replies_lost(self) -> int:
        """The number of responses to successful writes that the client could not read."""
        return self._application.log.responses_lost

    @property
    def faults_injected(self) -> Counter[FaultKind]:
        """The number of injected faults by kind."""
        return self._application.log.faults

    @property
    def instances(self) -> dict[str, JsonObject]:
        """Agent instances by id."""
        return self._state.account.instances

    @property
    def spans(self) -> dict[str, JsonObject]:
        """Agent spans by id."""
        return self._state.account.spans

    @property
    def agent_versions(self) -> dict[str, JsonObject]:
        """Agent versions by id."""
        return self._state.account.agent_versions

    @property
    def agents(self) -> dict[str, JsonObject]:
        """Agents by id."""
        return self._state.account.agents

    def stats(self) -> JsonObject:
        """Return the counters that ``GET /_local/stats`` responds with."""
        return build_stats(self._application.log, self._ledger)
