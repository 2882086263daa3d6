"""Fixtures shared by several test modules."""

import asyncio
import signal

import pytest
from event_loops import LOOPS
from raw_server import RawServer
from unused_port import unused_port
from virtual_time import VirtualLoop

from prefactor_http import HttpClientConfig, PrefactorHttpClient

# A shell starts background jobs with SIGINT ignored, and nohup starts them with SIGHUP ignored. The
# commands under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Modules that check what is sent on the wire, or signals. They run on every event loop.
WIRE = {"test_identity", "test_observing", "test_redaction", "test_request", "test_shutdown"}


def pytest_collection_modifyitems(items):
    """Start the long tests in the first half, so that none is left when all others have ended."""
    places = {
        item: place / 2 if item.get_closest_marker("long") else place
        for place, item in enumerate(items)
    }
    items.sort(key=places.__getitem__)


def pytest_asyncio_loop_factories(config, item):
    if item.get_closest_marker("virtual_time"):
        return {"virtual time": VirtualLoop}
    return LOOPS if item.path.stem in WIRE else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def raw_server():
    async with RawServer() as server:
        yield server


@pytest.fixture
async def client(raw_server):
    async with PrefactorHttpClient(HttpClientConfig(raw_server.url, "token-1234")) as client:
        yield client


@pytest.fixture
def unused_tcp_port():
    return unused_port()
