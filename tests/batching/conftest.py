"""A scripted API."""

import pytest
from batching_support import FakeApi


@pytest.fixture
def api(raw_server):
    return FakeApi(raw_server)
