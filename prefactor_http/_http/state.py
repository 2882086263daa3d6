"""State that a client shares with its views: session, slots, rate limiter, retry budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator, Mapping
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from prefactor_http._http.background import BackgroundTasks
from prefactor_http._http.captured_response import (
    CapturedResponse,
    close_capture,
    open_capture,
)
from prefactor_http._http.clock import Clock
from prefactor_http._http.codec import PreparedRequest
from prefactor_http._http.rate_limiter import RateLimiter
from prefactor_http._http.redaction import Redactor
from prefactor_http._http.response import Failure, WriteStatus
from prefactor_http._http.retry_budget import RetryBudget
from prefactor_http._http.seen_resources import SeenResources
from prefactor_http._http.semaphore import Semaphore
from prefactor_http._http.span_instances import SpanInstances
from prefactor_http._http.timeouts import Timeouts
from prefactor_http._http.token_source import TokenSource
from prefactor_http._http.transport import Transport
from prefactor_http._values.forks import fork_count
from prefactor_http.config import HttpClientConfig
from prefactor_http.exceptions import PrefactorClientError

if TYPE_CHECKING:
    from aiohttp import ClientSession

CLOSED = "the client is closed: enter it again with `async with`"
_CLOSED_MEANWHILE = "the client was closed"
_FORKED = "the client was opened before this process was forked: make a new client in each process"
OTHER_LOOP = (
    "the client belongs to another event loop: make one client for each event loop, or close it "
    "on its own loop first"
)

T = TypeVar("T")


class Drainable(Protocol):
    """Holds calls that wait to be sent together."""

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 # a bound, no error
        """Send the calls, and wait for their results for at most ``timeout`` seconds."""

    def forget(self) -> None:
        """Drop the calls: their event loop has ended, or runs in the parent process."""


class ClientState:
    """The shared state of a client, bound to one event loop from `open` to `close`.

    Args:
        config: The client's configuration.
        headers: Headers of each request.
        clock: Source of time.
        session: A borrowed session, or None.

    Attributes:
        tokens: Source of tokens, if ``api_token`` is a function.
        batchers: What holds calls back to send them together; closing drains it.
        capture_count: Number of open blocks that capture responses.
    """

    def __init__(
        self,
        config: HttpClientConfig,
        headers: Mapping[str, str],
        clock: Clock,
        session: ClientSession | None,
    ) -> None:
        self.clock = clock
        self.limiter: RateLimiter = RateLimiter(clock, config)
        self.budget: RetryBudget = RetryBudget(config)
        self.redactor: Redactor = Redactor()
        self.seen: SeenResources = SeenResources()
        self.span_instances: SpanInstances = SpanInstances()
        self.timeouts: Timeouts = Timeouts()
        self.transport: Transport = Transport(
            config, headers, self.timeouts, session, self.redactor
        )
        self.background: BackgroundTasks = BackgroundTasks()
        self.tokens: TokenSource | None = None
        if isinstance(config.api_token, str):
            self.redactor.add(config.api_token)
        else:
            self.tokens = TokenSource(
                config.api_token, config, clock, self.redactor, self.transport.set_token
            )
        self.batchers: dict[Drainable, None] = {}
        self.capture_count: int = 0
        self.is_closed: bool = False
        self._max_connections = config.max_connections
        self.slots: Semaphore = Semaphore(self._max_connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = self._fork_count = 0

    @contextmanager
    def capture_responses(self) -> Generator[list[CapturedResponse], None, None]:
        """Collect the responses of the calls that are made in a block."""
        responses: list[CapturedResponse] = []
        capture = open_capture(self, responses)
        self.capture_count += 1
        try:
            yield responses
        finally:
            self.capture_count -= 1
            close_capture(capture)

    @property
    def is_inherited(self) -> bool:
        """Whether the client was opened before this process was forked."""
        return self._loop is not None and self._fork_count != fork_count()

    def is_elsewhere(self) -> bool:
        """Whether the client is open on another event loop of this process, which still exists."""
        loop = self._loop
        return (
            loop is not None
            and not self.is_closed
            and not self.is_inherited
            and not loop.is_closed()
            and loop is not asyncio.get_running_loop()
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the client is open on."""
        return self._loop

    def open(self) -> None:
        """Bind the client to the running event loop; a closed client opens again.

        Raises:
            PrefactorClientError: It is open in another process or on another event loop.
        """
        if self._loop is not None and not self.is_closed:
            self._check_owner()
            return
        loop = asyncio.get_running_loop()
        self.transport.open()
        self._thread_id, self._fork_count = get_ident(), fork_count()
        if self._loop is not loop:
            # On the same loop, attempts from before the close may still release their slots.
            self._loop = loop
            self.slots = Semaphore(self._max_connections)
            self.limiter.rebind()
        self.is_closed = False

    def check_usable(self) -> None:
        """Check that the client can be used here; open it if it was never opened.

        Raises:
            PrefactorClientError: The client is closed, or open in another process or on another
                event loop.
        """
        if self.is_closed:
            raise PrefactorClientError(CLOSED)
        if self._loop is None:
            self.open()
        elif (
            # A thread runs one event loop at a time. `get_running_loop` makes a system call.
            get_ident() != self._thread_id
            or not self._loop.is_running()
            or self._fork_count != fork_count()
        ):
            self._check_owner()

    def _check_owner(self) -> None:
        if self.is_inherited:
            raise PrefactorClientError(_FORKED)
        if asyncio.get_running_loop() is not self._loop:
            raise PrefactorClientError(OTHER_LOOP)

    def acquire_nowait(self, prepared: PreparedRequest[Any]) -> bool:
        """Take a slot for an attempt, if it may start now.

        Returns:
            Whether it may. If so, call `release` after the attempt; if not, await `acquire`.
        """
        if self.is_closed or (self.tokens is not None and self.tokens.is_due):
            return False
        if not self.slots.acquire_nowait():
            return False
        if self.limiter.is_idle or self.limiter.acquire_nowait(prepared):
            return True
        self.slots.release()
        return False

    async def acquire(self, prepared: PreparedRequest[Any]) -> Failure | None:
        """Wait until an attempt may start, and take its slot.

        Returns:
            None if it may start; then call `release` after it. Otherwise the failure of the call.
        """
        closed = _not_sent(PrefactorClientError(_CLOSED_MEANWHILE))
        if self.tokens is not None and self.tokens.is_due and not self.is_closed:
            failure = await self._wait_for_token(self.tokens.refresh())
            if failure is not None:
                return failure
        failure = await self._wait_unless_closed(self.limiter.acquire(prepared, self.slots), closed)
        if failure is None and self.is_closed:
            self.release(prepared)
            return closed
        return failure

    def release(self, prepared: PreparedRequest[Any]) -> None:
        """Return the slot of an attempt that has ended."""
        self.slots.release()
        if not self.limiter.is_idle:
            self.limiter.release(prepared)

    async def replace_token(self, tokens: TokenSource, refused: str) -> Failure | None:
        """After a 401, call the function in `api_token`, or wait for a call of it in progress.

        Returns:
            The failure of that call, or None.
        """
        if self.is_closed:
            return _not_sent(PrefactorClientError(_CLOSED_MEANWHILE))
        return await self._wait_for_token(tokens.replace(refused))

    async def _wait_for_token(
        self, refresh: Coroutine[Any, Any, PrefactorClientError | None]
    ) -> Failure | None:
        closed = PrefactorClientError(_CLOSED_MEANWHILE)
        error = await self._wait_unless_closed(refresh, closed)
        return None if error is None else _not_sent(error)

    async def sleep(self, seconds: float) -> None:
        """Wait until a retry. Ends early if the client is closed; then the next attempt fails."""
        await self._wait_unless_closed(self.clock.sleep(seconds), None)

    async def close(self, drain_timeout: float) -> None:
        """End background tasks, reject new calls, drain those in flight and close the session.

        In a forked child, or when the client's event loop is closed, there are no calls to drain:
        the client only drops its references.

        Args:
            drain_timeout: Seconds after which background tasks are cancelled and attempts in flight
                are interrupted.

        Raises:
            PrefactorClientError: The client is open on another event loop.
        """
        loop = self._loop
        if self.is_inherited:
            self._forget_loop()
            self.transport.abandon()
        elif loop is not None and loop.is_closed():
            self._forget_loop()
            with suppress(RuntimeError):  # aiohttp cancels callbacks on the closed loop
                await self.transport.close()
        elif loop is None or loop is asyncio.get_running_loop():
            await self._close_on_own_loop(drain_timeout)
        elif not self.is_closed:
            raise PrefactorClientError(OTHER_LOOP)

    def _forget_loop(self) -> None:
        self.is_closed = True
        self._loop = None
        self.background.forget()
        for batcher in self.batchers:
            batcher.forget()
        self.batchers.clear()
        self.timeouts.clear()
        if self.tokens is not None:
            self.tokens.forget_task()

    async def _close_on_own_loop(self, drain_timeout: float) -> None:
        drain_timeout = await self.background.close(drain_timeout)
        for batcher in [*self.batchers]:
            started = self.clock.monotonic()
            await batcher.drain(drain_timeout)
            drain_timeout = max(0.0, drain_timeout - (self.clock.monotonic() - started))
        self.is_closed = True
        try:
            self.timeouts.interrupt(only_unlimited=True)
            await self.timeouts.wait_until_empty(drain_timeout)
        finally:
            if self.is_closed:  # it may have been opened again during the drain
                self.timeouts.interrupt(only_unlimited=False)
                self.timeouts.cancel_timers()
                if self.tokens is not None:
                    await self.tokens.close()
                await self.transport.close()

    async def _wait_unless_closed(self, wait: Awaitable[T], closed: T) -> T:
        """Await `wait`, or return `closed` if the client is closed first."""
        timeout = self.timeouts.start(None)
        try:
            return await wait
        except asyncio.CancelledError:
            if timeout.cancel_reason() is None:
                raise
            return closed
        finally:
            self.timeouts.stop(timeout)


def _not_sent(error: PrefactorClientError) -> Failure:
    return Failure(error, WriteStatus.NOT_SENT, permanent=True)
