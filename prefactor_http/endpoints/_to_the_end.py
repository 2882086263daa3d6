"""Work that must come to its end although the task around it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from prefactor_http.exceptions import PrefactorHttpError

_log = logging.getLogger("prefactor_http")


async def to_the_end(work: Awaitable[None]) -> None:
    """Await work that is bounded in itself; a cancellation meanwhile is raised after it.

    Args:
        work: What to do; it may raise `PrefactorHttpError`.

    Raises:
        PrefactorHttpError: The work's own error, unless the task was cancelled: then it is logged.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            if task.cancelled():
                break
            cancellation = exc
        except PrefactorHttpError:
            break  # the work's own, raised below
    if cancellation is not None:
        if not task.cancelled() and task.exception() is not None:
            _log.warning("finishing failed while the task was cancelled: %s", task.exception())
        try:
            raise cancellation
        finally:
            del cancellation
    await task
