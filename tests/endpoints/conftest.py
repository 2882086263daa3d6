"""A local API, a client of it, and an active instance."""

import pytest
from event_loops import LOOPS

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.testing import LocalPrefactor

VERSION = {"external_identifier": "v1", "name": "Version 1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


def pytest_asyncio_loop_factories(config, item):
    return LOOPS


@pytest.fixture
def policy():
    """Idempotency policy of the local API; tests may override it."""


@pytest.fixture
async def api(policy):
    async with LocalPrefactor(policy=policy) as server:
        yield server


@pytest.fixture
async def client(api):
    config = HttpClientConfig(
        api.url, api.token, initial_retry_delay=0.001, max_retry_delay=0.02, retry_budget=None
    )
    async with PrefactorHttpClient(config) as client:
        yield client


@pytest.fixture
async def instance(api, client):
    registered = await client.agent_instances.register(
        api.agent_id, VERSION, SCHEMA, environment_id=api.environment_id
    )
    return await client.agent_instances.start(registered.id)


@pytest.fixture
async def raw_client(raw_server):
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, "token-1234")) as client:
        yield client
