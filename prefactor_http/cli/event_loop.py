"""Runs coroutines so that a DNS lookup that hangs does not delay the end of the command.

The operating system may try to resolve a host name for half a minute. asyncio does this in a
thread, which cannot be interrupted, and Python waits for such threads when it exits.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_THREAD_NAME = "prefactor-http-lookup"
_GRACE = 0.2  # seconds, for threads that are about to end


class _LookupExecutor(ThreadPoolExecutor):
    """A thread pool whose shutdown does not wait."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a new event loop and return its result."""

    async def with_lookups() -> T:
        executor = _LookupExecutor(thread_name_prefix=_THREAD_NAME)
        asyncio.get_running_loop().set_default_executor(executor)
        return await main()

    return asyncio.run(with_lookups())


def exit_despite_lookups(code: int) -> None:
    """Exit immediately if a lookup is still running; otherwise return."""
    lookups = [thread for thread in threading.enumerate() if thread.name.startswith(_THREAD_NAME)]
    for thread in lookups:
        thread.join(_GRACE)
    if any(thread.is_alive() for thread in lookups):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
