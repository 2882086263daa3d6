"""Runs a local API in a thread, for tests without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager

from prefactor_http.testing.server.server import LocalPrefactor


@contextmanager
def serving(server: LocalPrefactor) -> Generator[LocalPrefactor]:
    """Run a server in a background thread for the duration of the block.

    Args:
        server: A server that has not been started.

    Yields:
        The same server, which is listening.

    Raises:
        OSError: The port is in use.
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
