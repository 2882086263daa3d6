"""A local API, and clients that retry quickly."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from event_loops import LOOPS
from resilience_support import SCHEMA, UNTRUSTED_PEM, VERSION, ManualClock

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.testing import LocalPrefactor


def pytest_asyncio_loop_factories(config, item):
    return LOOPS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def api() -> AsyncIterator[LocalPrefactor]:
    async with LocalPrefactor() as server:
        yield server


@pytest.fixture
async def client_for() -> AsyncIterator[Callable[..., Any]]:
    """Opens clients of a server and closes them after the test."""
    async with AsyncExitStack() as stack:

        async def open_client(
            api: LocalPrefactor,
            *,
            clock: ManualClock | None = None,
            session: Any = None,
            **config: Any,
        ) -> PrefactorHttpClient:
            settings = {
                "initial_retry_delay": 0.001,
                "max_retry_delay": 0.02,
                "request_timeout": 10.0,
                "retry_budget": None,
                **config,
            }
            client = PrefactorHttpClient(
                HttpClientConfig(api.url, api.token, **settings), clock=clock, session=session
            )
            return await stack.enter_async_context(client)

        yield open_client


@pytest.fixture
def register(api: LocalPrefactor) -> Callable[..., Any]:
    """Registers an instance of the server's default agent."""

    def call(client: PrefactorHttpClient, **kwargs: Any) -> Any:
        return client.agent_instances.register(
            api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id, **kwargs
        )

    return call


@pytest.fixture
async def untrusted_tls_server(tmp_path: Path) -> AsyncIterator[Any]:
    """A TLS server with an untrusted certificate."""
    pem = tmp_path / "untrusted.pem"
    pem.write_text(UNTRUSTED_PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    yield SimpleNamespace(url=f"https://127.0.0.1:{port}", token="t")
    server.close()
