"""Awaiting work to its end although the surrounding task is cancelled."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from prefactor_http.exceptions import PrefactorHttpError

_log = logging.getLogger("prefactor_http")


async def run_shielded(work: Awaitable[None]) -> None:
    """Await work to its end, then raise a cancellation that arrived in the meantime.

    Args:
        work: The work. It limits its own duration, and may raise `PrefactorHttpError`.

    Raises:
        PrefactorHttpError: The error of the work. If the task was cancelled, it is only logged.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    with _shielded_from_anyio():
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as exc:
                if task.cancelled():
                    break
                cancellation = exc
            except PrefactorHttpError:
                break  # raised below
    if cancellation is not None:
        if not task.cancelled() and task.exception() is not None:
            _log.warning("finishing failed while the task was cancelled: %s", task.exception())
        try:
            raise cancellation
        finally:
            del cancellation
    await task


def _shielded_from_anyio() -> AbstractContextManager[object]:
    """Keep a cancelled anyio scope from cancelling the task again in each loop iteration.

    anyio is not a dependency. A program that uses it has imported it.
    """
    anyio = sys.modules.get("anyio")
    if anyio is None:
        return nullcontext()
    return cast("AbstractContextManager[object]", anyio.CancelScope(shield=True))
