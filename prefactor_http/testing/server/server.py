"""A local Prefactor API: started, told what to break, and asked what took effect."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

from aiohttp import web

from prefactor_http.testing.faults.faults import RANDOM_FAULTS, Fault, FaultKind
from prefactor_http.testing.faults.item_faults import ItemFaults
from prefactor_http.testing.faults.script import FaultScript
from prefactor_http.testing.resources.domain import Domain
from prefactor_http.testing.resources.response import JsonObject, encode
from prefactor_http.testing.server.exchange import Exchange
from prefactor_http.testing.server.front import Front
from prefactor_http.testing.server.key_store import IdempotencyPolicy, KeyStore
from prefactor_http.testing.server.ledger import Effect, Ledger, Write
from prefactor_http.testing.server.rate_limit import RateLimit, TokenBucket
from prefactor_http.testing.server.record import RecordedRequest
from prefactor_http.testing.server.stats import stats_of

_STATS_PATH = "/_local/stats"
_SHUTDOWN_TIMEOUT = 1.0
_BACKLOG = 1024


class LocalPrefactor:
    """A Prefactor API of one's own, in memory, on loopback.

    It follows the API's contract, breaks attempts when told to, and counts what took effect::

        async with LocalPrefactor() as api:
            api.fail_next(FaultKind.APPLIED_THEN_RESET)
            async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
                ...
            assert api.doubled == api.lost == []

    An agent, an environment and the agent's deployment are there from the start. What was
    written outlives ``stop()``: started again, the server goes on with it on the same port.

    From another thread, state may be read while no request is under way: a reply is sent only
    after all that concerns it was noted. Faults may be scripted from any thread at any time.

    Args:
        host: Address to listen on.
        port: Port to listen on; a free one where 0.
        faults: Share of attempts that fail at random, 0 to 1.
        seed: Seed of the dice and of the ids.
        fault_kinds: What random faults are drawn from, evenly.
        retry_after: Seconds in the ``Retry-After`` of random 429 and 503.
        stall: Longest time in seconds that a stalled reply is held back.
        policy: How idempotency keys are treated.
        record: Whether ``requests`` keeps every attempt.
        rate_limit: Requests a second that are borne; none where omitted.
        item_faults: Share of bulk items that fail at random with a transient error, 0 to 1.
        largest_request: Largest body in bytes that is not answered with 413.
        close_spans_on_terminate: Whether terminating an instance cancels its open spans.
        refuse_version_clashes: Whether a version's name cannot come back with other content.

    Attributes:
        token: An account token.
        deployment_token: A token bound to the ready-made deployment.
        account_id: The account.
        agent_id: The ready-made agent.
        environment_id: The ready-made environment.
        deployment_id: The ready-made deployment.
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
        record: bool = True,
        rate_limit: RateLimit | None = None,
        item_faults: float = 0.0,
        largest_request: int | None = None,
        close_spans_on_terminate: bool = False,
        refuse_version_clashes: bool = False,
    ) -> None:
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._ledger = Ledger()
        self._keys = KeyStore(policy or IdempotencyPolicy(), time.monotonic)
        self._script = FaultScript(
            rate=faults, seed=seed, kinds=fault_kinds, retry_after=retry_after
        )
        self._domain = Domain(
            seed,
            close_spans_on_terminate=close_spans_on_terminate,
            refuse_version_clashes=refuse_version_clashes,
        )
        self._item_faults = ItemFaults(rate=item_faults, seed=seed)
        front = Front(
            item_faults=self._item_faults,
            domain=self._domain,
            keys=self._keys,
            ledger=self._ledger,
            bucket=None if rate_limit is None else TokenBucket(rate_limit, time.monotonic),
            largest_request=largest_request,
        )
        self._exchange = Exchange(
            front=front, keys=self._keys, script=self._script, stall=stall, record=record
        )
        self.account_id: str = self._domain.account.account_id
        self.environment_id: str = self._domain.environment["id"]
        self.agent_id: str = self._domain.agent["id"]
        self.deployment_id: str = self._domain.deployment["id"]
        self.token: str = self._domain.tokens.add("local-account-token")
        self.deployment_token: str = self._domain.tokens.add(
            "local-deployment-token", self._domain.deployment
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
            RuntimeError: The server listens already.
        """
        if self._runner is not None:
            raise RuntimeError("The local API listens already.")
        self._exchange.open()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG)
        await site.start()
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, end stalls and close all connections; does nothing when stopped."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self._exchange.close()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == _STATS_PATH:
            return web.Response(body=encode(self.stats()), content_type="application/json")
        return await self._exchange.handle(request)

    @property
    def url(self) -> str:
        """Base URL of the server, once it has listened."""
        return f"http://{self._host}:{self._port}"

    def fail_next(
        self,
        *faults: Fault | FaultKind,
        method: str | None = None,
        path: str | None = None,
        operation: str | None = None,
    ) -> None:
        """Let the next matching attempts fail, one fault each, in this order.

        Args:
            *faults: What goes wrong; a bare kind stands for a fault with its defaults.
            method: Only attempts with this verb.
            path: Only attempts with this path, with or without its ``/api/v1``; ``*`` matches
                any part.
            operation: Only attempts of this operation, such as ``agent_instances.register`` or
                ``bulk.execute``.
        """
        self._script.add(faults, method=method, path=path, operation=operation)

    def fail_next_item(self, *codes: str, key: str | None = None) -> None:
        """Let the next bulk items fail with transient errors, one each, in this order.

        Args:
            *codes: ``rate_limited``, ``internal_server_error``, ``service_unavailable`` or
                ``idempotency_in_progress``.
            key: Only items with this idempotency key.

        Raises:
            ValueError: A code is not transient.
        """
        self._item_faults.add(codes, key)

    def calm(self) -> None:
        """Take back all faults that have not struck yet, and throw no more dice."""
        self._script.clear()
        self._item_faults.clear()

    @property
    def faults_pending(self) -> int:
        """How many scripted faults have not struck yet."""
        return self._script.pending

    @property
    def policy(self) -> IdempotencyPolicy:
        """How idempotency keys are treated; may be exchanged at any time."""
        return self._keys.policy

    @policy.setter
    def policy(self, policy: IdempotencyPolicy) -> None:
        self._keys.policy = policy

    def forget_keys(self, actions: Iterable[str]) -> None:
        """Forget the keys of these actions at once, as if they had expired.

        Args:
            actions: Such as ``agent_instances.start``.
        """
        self._keys.forget(actions)

    def set_token_active(self, token: str, active: bool) -> None:
        """Suspend a token, or take that back."""
        self._domain.tokens.set_active(token, active)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every attempt, in the order of arrival."""
        return self._exchange.traffic.requests

    @property
    def effects(self) -> list[Effect]:
        """Every write that took effect, in order; bulk items one by one."""
        return self._ledger.effects

    @property
    def doubled(self) -> list[Write]:
        """The keyed writes that took effect more than once."""
        return self._ledger.doubled

    @property
    def lost(self) -> list[Write]:
        """The keyed writes that were read, never refused for good, and never took effect.

        Refused for good means a 4xx other than 408, 425, 429 and ``idempotency_in_progress``.
        """
        return self._ledger.lost

    @property
    def bytes_changed(self) -> list[Write]:
        """The keyed writes whose attempts were not the same bytes."""
        return self._ledger.bytes_changed

    @property
    def keys_reused(self) -> list[Write]:
        """The keyed writes that came back with other content after they took effect."""
        return self._ledger.content_changed

    @property
    def violations(self) -> list[str]:
        """What the contract forbids and the server bore, such as a key on a GET."""
        return self._ledger.violations

    @property
    def replays(self) -> int:
        """How many writes were answered from memory."""
        return self._ledger.replays

    @property
    def replies_lost(self) -> int:
        """How many successes of writes never reached their client in readable form."""
        return self._exchange.traffic.replies_lost

    @property
    def faults_injected(self) -> Counter[FaultKind]:
        """How many attempts were broken, by kind."""
        return self._exchange.traffic.faults

    @property
    def instances(self) -> dict[str, JsonObject]:
        """Agent instances by id."""
        return self._domain.account.instances

    @property
    def spans(self) -> dict[str, JsonObject]:
        """Agent spans by id."""
        return self._domain.account.spans

    @property
    def agents(self) -> dict[str, JsonObject]:
        """Agents by id."""
        return self._domain.account.agents

    def stats(self) -> JsonObject:
        """Return the counts that ``GET /_local/stats`` answers with."""
        return stats_of(self._exchange.traffic, self._ledger)
