"""Provides the bearer token of a client whose `api_token` is a function.

The function is called before the first request, after a 401, and at the configured interval. One
task at a time calls it, for all calls that wait for a token. It belongs to none of them, so a
cancelled call does not interrupt it for the others.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Callable

from msgspec import Struct

from prefactor_http._http.clock import Clock
from prefactor_http._http.redaction import Redactor
from prefactor_http.config import HttpClientConfig, TokenProvider, check_provided_token
from prefactor_http.exceptions import PrefactorClientError

_log = logging.getLogger("prefactor_http")


class _Problem(Struct):
    text: str
    cause: Exception | None = None


class TokenSource:
    """Calls the function in `HttpClientConfig.api_token` and keeps the token that it returned.

    Args:
        provider: The function, which is called in a thread, or the coroutine function.
        config: Interval and time limit of the calls.
        clock: Source of time.
        redactor: Redacts each token.
        use_token: Called with each token, to send it from now on.

    Attributes:
        token: The token in use; None before the first call.
    """

    def __init__(
        self,
        provider: TokenProvider,
        config: HttpClientConfig,
        clock: Clock,
        redactor: Redactor,
        use_token: Callable[[str], None],
    ) -> None:
        self.token: str | None = None
        self._provider = provider
        self._is_async = inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(
            getattr(provider, "__call__", None)  # noqa: B004 # an object with `async def __call__`
        )
        self._timeout = config.request_timeout
        self._interval = config.token_refresh_interval
        self._retry_delay = config.max_retry_delay
        self._clock = clock
        self._redactor = redactor
        self._use_token = use_token
        self._refresh_at = -math.inf
        self._task: asyncio.Task[_Problem | None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def is_due(self) -> bool:
        """Whether the function must be called before the next request."""
        return self._clock.monotonic() >= self._refresh_at

    async def refresh(self) -> PrefactorClientError | None:
        """Call the function if it is due.

        Returns:
            The error of the call if there is no token. A token that could not be replaced at the
            end of its interval stays in use.
        """
        error = await self._refresh()
        return error if self.token is None else None

    async def replace(self, refused: str) -> PrefactorClientError | None:
        """Call the function, unless another call has replaced the refused token meanwhile.

        Returns:
            The error of the call, or None. The function may have returned the same token again.
        """
        return await self._refresh() if self.token == refused else None

    def forget_task(self) -> None:
        """Drop the task: its event loop is closed, or runs in another process."""
        self._task = None

    async def close(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _refresh(self) -> PrefactorClientError | None:
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.create_task(self._call())
        await asyncio.wait([task])
        problem = (
            _Problem("the call of api_token was cancelled") if task.cancelled() else task.result()
        )
        if problem is None:
            return None
        error = PrefactorClientError(problem.text)
        error.__cause__ = problem.cause
        return error

    async def _call(self) -> _Problem | None:
        """Call the function and use its token. The frames of its errors do not show the token."""
        timeout = asyncio.timeout(self._timeout)
        try:
            async with timeout:
                given = await self._provide()
        except Exception as exc:  # noqa: BLE001 # each call that waits gets an error
            if timeout.expired():
                text = f"api_token returned no token within {self._timeout:g} s (request_timeout)"
                return self._on_problem(_Problem(text))
            text = self._redactor.source(f"api_token raised {type(exc).__name__}: {exc}")
            return self._on_problem(_Problem(" ".join(text.split()), exc))
        try:
            token = check_provided_token(given)
        except (TypeError, ValueError) as exc:
            return self._on_problem(_Problem(str(exc)))
        self._redactor.add(token)
        self.token = token
        self._refresh_at = self._clock.monotonic() + (self._interval or math.inf)
        self._use_token(token)
        return None

    def _on_problem(self, problem: _Problem) -> _Problem:
        if self.token is not None:
            _log.warning("could not refresh the token: %s", problem.text)
            if self._interval is not None:
                delay = min(self._interval, self._retry_delay)
                self._refresh_at = self._clock.monotonic() + delay
        return problem

    async def _provide(self) -> object:
        # A plain function may block, and a deadline could not interrupt it in this thread.
        given = self._provider() if self._is_async else await asyncio.to_thread(self._call_provider)
        return await given if inspect.isawaitable(given) else given

    def _call_provider(self) -> object:
        try:
            return self._provider()
        except StopIteration as exc:  # a future cannot hold it
            raise RuntimeError("StopIteration") from exc
