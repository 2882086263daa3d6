"""What several test files ask for."""

import pytest
from raw_server import RawServer


@pytest.fixture
async def raw_server():
    async with RawServer() as server:
        yield server
