"""`prefactor_http` through `client.batched`: calls that wait at the same time share a request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.contenders import Calls
from benchmarks.contenders.prefactor import calls_of, open_client


@asynccontextmanager
async def open_calls(url: str, **settings: Any) -> AsyncIterator[Calls]:
    async with open_client(url, **settings) as client, client.batched() as view:
        yield calls_of(view)
