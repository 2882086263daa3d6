"""A local API, a client that retries quickly, and an outbox."""

import pytest
from outbox_support import client_of
from unused_port import unused_port

from prefactor_http.outbox import Outbox
from prefactor_http.testing import LocalPrefactor


@pytest.fixture
async def api():
    async with LocalPrefactor(port=unused_port()) as server:
        yield server


@pytest.fixture
async def client(api):
    async with client_of(api) as client:
        yield client


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
async def outbox(path, client):
    async with Outbox(path, client) as outbox:
        yield outbox
