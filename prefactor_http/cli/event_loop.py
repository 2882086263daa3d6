"""Runs coroutines such that a name lookup that hangs does not keep the command from ending.

The operating system may look for a host for half a minute, in a thread that cannot be interrupted.
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

_THREADS = "prefactor-http-lookup"
_GRACE = 0.2  # seconds, for threads that are about to end


class _Lookups(ThreadPoolExecutor):
    """Threads that nobody waits for."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in an event loop of its own, and give its result.

    Args:
        main: Makes the coroutine.
    """

    async def with_lookups() -> T:
        executor = _Lookups(thread_name_prefix=_THREADS)
        asyncio.get_running_loop().set_default_executor(executor)
        return await main()

    return asyncio.run(with_lookups())


def exit_from_lookups(code: int) -> None:
    """Exit at once if a lookup is still running, for which Python would wait; otherwise return."""
    lookups = [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]
    for thread in lookups:
        thread.join(_GRACE)
    if any(thread.is_alive() for thread in lookups):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
