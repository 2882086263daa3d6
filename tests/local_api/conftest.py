"""Fixtures: a running local API and a plain aiohttp caller."""

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
def caller(api, session):
    return Caller(api, session)
