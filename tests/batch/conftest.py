"""A local API and a client that retries quickly."""

import pytest
from batch_support import client_of

from prefactor_http.testing import LocalPrefactor


@pytest.fixture
async def api():
    async with LocalPrefactor() as server:
        yield server


@pytest.fixture
async def client(api):
    async with client_of(api) as client:
        yield client


@pytest.fixture
async def raw_client(raw_server):
    async with client_of(raw_server) as client:
        yield client
