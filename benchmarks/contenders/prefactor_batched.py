"""`prefactor_http` through `client.batched`: calls that wait at the same time share a request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.contenders import Calls
from benchmarks.contenders.prefactor import calls_of, open_client


@asynccontextmanager
async def open_calls(url: str, **settings: Any) -> AsyncIterator[Calls]:
    async with open_client(url, **settings) as client:
        view = client.batched()
        yield calls_of(view)
        # The measure of memory leaves requests in flight that are never answered.
        await view.close(drain_timeout=0.1)
