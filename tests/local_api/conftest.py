"""A running local API and a caller that knows nothing of the client."""

import aiohttp
import pytest
from plain_caller import Caller

from prefactor_http.testing import LocalPrefactor


@pytest.fixture
async def api():
    async with LocalPrefactor(stall=5.0) as server:
        yield server


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def call(api, session):
    return Caller(api, session)
