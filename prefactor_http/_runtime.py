"""What a client and its views share: session, limit, gate, budget, and an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from prefactor_http._clock import Clock
from prefactor_http._outcome import Failure, Kind
from prefactor_http._rate_limiter import RateLimiter
from prefactor_http._redaction import Redactor
from prefactor_http._retry_budget import RetryBudget
from prefactor_http._semaphore import Semaphore
from prefactor_http._span_instances import SpanInstances
from prefactor_http._transport import Transport
from prefactor_http._watch import Watches
from prefactor_http._wire import Call
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError

if TYPE_CHECKING:
    from aiohttp import ClientSession

_CLOSED = "the client is closed"

T = TypeVar("T")


class Runtime:
    """One client's life on one event loop, from `open` to `close`.

    Args:
        config: The client's configuration.
        headers: Headers of every request.
        clock: Where the time comes from.
        session: A session to borrow, or None.
    """

    def __init__(
        self,
        config: HttpClientConfig,
        headers: Mapping[str, str],
        clock: Clock,
        session: ClientSession | None,
    ) -> None:
        self.clock = clock
        self.limiter = RateLimiter(clock, config)
        self.budget = RetryBudget(config.retry_budget)
        self.redactor = Redactor(config.api_token)
        self.span_instances = SpanInstances()
        self.watches = Watches()
        self.transport = Transport(config, headers, self.watches, session)
        self.is_closed = False
        self._max_connections = config.max_connections
        self.slots = Semaphore(self._max_connections)
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Bind the client to the running event loop; a closed client opens again."""
        if self._loop is None or self.is_closed:
            loop = asyncio.get_running_loop()
            if self._loop is not loop:
                # On the same one, attempts of before a close may still have slots to give back.
                self._loop = loop
                self.limiter.rebind()
                self.slots = Semaphore(self._max_connections)
            self.is_closed = False
            self.transport.open()

    def check_usable(self) -> None:
        """Let a call in, or say why not.

        Raises:
            PrefactorClientError: The client is closed, or belongs to another event loop: a loop
                that ended, one of another thread, or one from before a fork.
        """
        if self.is_closed:
            raise PrefactorClientError(f"{_CLOSED}: enter it again with `async with`")
        if asyncio.get_running_loop() is not self._loop:
            if self._loop is not None:
                raise PrefactorClientError(
                    "the client belongs to another event loop (or to the process before a fork): "
                    "make one client for each, or close it there first"
                )
            self.open()

    def admit_now(self, call: Call[Any]) -> bool:
        """Let an attempt start at once, if nothing speaks against it; see `release`.

        Returns:
            Whether it may. If not, `admit` waits until it may.
        """
        if self.is_closed or not self.slots.acquire_nowait():
            return False
        if self.limiter.is_idle or self.limiter.acquire_nowait(call):
            return True
        self.slots.release()
        return False

    async def admit(self, call: Call[Any]) -> Failure | None:
        """Wait until an attempt may start; see `release`.

        Returns:
            None when it may start, otherwise why it may not.
        """
        closed = Failure(
            PrefactorClientError("the client was closed"), Kind.NOT_SENT, permanent=True
        )
        failure = await self._unless_closing(self.limiter.acquire(call, self.slots), closed)
        if failure is None and self.is_closed:
            self.release(call)
            return closed
        return failure

    def release(self, call: Call[Any]) -> None:
        """Record that an attempt that was admitted is over."""
        self.slots.release()
        if not self.limiter.is_idle:
            self.limiter.release(call)

    async def pause(self, seconds: float) -> None:
        """Wait, unless the client closes; then the next attempt is refused."""
        await self._unless_closing(self.clock.sleep(seconds), None)

    async def close(self, drain_timeout: float) -> None:
        """End: refuse new calls, wake those that wait, let those in flight end, close the session.

        Args:
            drain_timeout: Seconds for those in flight; then they are interrupted.
        """
        self.is_closed = True
        try:
            if self._loop is asyncio.get_running_loop():
                self.watches.interrupt(only_endless=True)
                await self.watches.wait_until_empty(drain_timeout)
        finally:
            if self.is_closed:  # or it was opened again meanwhile, and goes on
                self.watches.interrupt(only_endless=False)
                self.watches.stop()
                await self.transport.close()

    async def _unless_closing(self, wait: Awaitable[T], closed: T) -> T:
        """Wait for something; return `closed` if the client closes first."""
        watch = self.watches.begin(None)
        try:
            return await wait
        except asyncio.CancelledError:
            if watch.caused() is None:
                raise
            return closed
        finally:
            self.watches.end(watch)
