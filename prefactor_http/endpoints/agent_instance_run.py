"""A block of code, run as an agent instance."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from prefactor_http.exceptions import PrefactorConflictError, PrefactorHttpError
from prefactor_http.models.agent_instance import AgentInstance

if TYPE_CHECKING:
    from types import TracebackType

    from prefactor_http.models.types import FinishStatus

_log = logging.getLogger("prefactor_http")

Register = Callable[[], Awaitable[AgentInstance]]
Start = Callable[[str], Awaitable[AgentInstance]]
Finish = Callable[[str, "FinishStatus"], Awaitable[AgentInstance]]


class AgentInstanceRun:
    """The context manager of `AgentInstanceClient.run`, and the handle that it yields.

    Attributes:
        instance: The instance, as the API last told; set once the block is entered.
        finish_status: How the instance ends when the block does not raise; the block may set it.
    """

    def __init__(self, register: Register, start: Start, finish: Finish) -> None:
        self.instance: AgentInstance | None = None
        self.finish_status: FinishStatus = "complete"
        self._register = register
        self._start = start
        self._finish = finish

    @property
    def id(self) -> str:
        """The instance's id."""
        if self.instance is None:
            raise RuntimeError("the run has no instance yet: use it as `async with run(...)`")
        return self.instance.id

    async def __aenter__(self) -> Self:
        if self.instance is not None:
            raise RuntimeError("a run can be entered once")
        self.instance = await self._register()
        try:
            self.instance = await self._start(self.id)
        except BaseException as exc:
            await _to_the_end(self._abandon(exc))
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            await _to_the_end(self._end(self.finish_status))
        else:
            await _to_the_end(self._end_failed("failed", exc))

    async def _end(self, status: FinishStatus) -> None:
        self.instance = await self._finish(self.id, status)

    async def _end_failed(self, status: FinishStatus, exc: BaseException) -> None:
        """Finish after an exception, which must stay the one that comes out."""
        try:
            await self._end(status)
        except PrefactorHttpError as problem:
            exc.add_note(f"agent instance {self.id} was not finished {status}: {problem}")
            _log.warning("agent instance %s was not finished %s: %s", self.id, status, problem)

    async def _abandon(self, exc: BaseException) -> None:
        """End an instance whose start did not succeed, or did without our knowing."""
        try:
            await self._end("cancelled")
        except PrefactorConflictError:
            await self._end_failed("failed", exc)
        except PrefactorHttpError as problem:
            exc.add_note(f"agent instance {self.id} was not cancelled: {problem}")
            _log.warning("agent instance %s was not cancelled: %s", self.id, problem)


async def _to_the_end(work: Awaitable[None]) -> None:
    """Await work to its end, also when the task is cancelled meanwhile; then raise that."""
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
