"""Runs a local API in a thread, for tests that have no event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager

from prefactor_http.testing.server.server import LocalPrefactor


@contextmanager
def serving(server: LocalPrefactor) -> Generator[LocalPrefactor]:
    """Let a server listen in a thread while the block runs.

    Args:
        server: A server that does not listen yet.

    Raises:
        OSError: The port is taken.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="local-prefactor", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
