"""The client that the demo compares with: it retries, without idempotency keys.

It is written as many people write such a client: a request that fails with a lost connection, a
timeout, 429 or 5xx is sent again, with a growing delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

_RETRIED = frozenset({429, 500, 502, 503, 504})
_FIRST_ERROR = 400


class PlainClientError(Exception):
    """A call failed."""


class PlainClient:
    """Calls the API with retries, but without idempotency keys.

    Args:
        session: Has the address of the API, the token and the timeout of an attempt.
        max_retries: Attempts after the first.
        first_delay: Seconds before the first retry. The delay doubles with each further retry.
        max_delay: Maximum of the delay, in seconds.
        on_attempt: Called after each attempt with its number, status and error.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        max_retries: int,
        first_delay: float,
        max_delay: float,
        on_attempt: Callable[[int, int | None, str | None], None],
    ) -> None:
        self._session = session
        self._max_retries = max_retries
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._on_attempt = on_attempt

    async def register(self, fields: dict[str, Any]) -> str:
        """Register an instance and return its id."""
        instance = await self._post("register", fields)
        return str(instance["id"])

    async def start(self, instance_id: str) -> None:
        await self._post(f"{instance_id}/start", {})

    async def finish(self, instance_id: str, status: str) -> None:
        await self._post(f"{instance_id}/finish", {"status": status})

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        number, delay = 1, self._first_delay
        while True:
            status: int | None = None
            try:
                async with self._session.post(f"/api/v1/agent_instance/{path}", json=body) as reply:
                    status = reply.status
                    if status < _FIRST_ERROR:
                        details: dict[str, Any] = (await reply.json())["details"]
                        self._on_attempt(number, status, None)
                        return details
                    error = f"HTTP {status}"
            except (aiohttp.ClientError, TimeoutError) as exc:
                status, error = None, str(exc) or "timed out"
            self._on_attempt(number, status, error)
            if number > self._max_retries or not (status is None or status in _RETRIED):
                raise PlainClientError(error)
            await asyncio.sleep(delay)
            number, delay = number + 1, min(delay * 2, self._max_delay)
