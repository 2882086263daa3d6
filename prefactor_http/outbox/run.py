"""Records a block of code in an outbox: `Outbox.run`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.agent_instance_run import AgentInstanceRun
from prefactor_http.endpoints.agent_span import ControlSignalCallback
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan
from prefactor_http.models.types import FinishStatus
from prefactor_http.outbox.endpoints import OutboxInstances, OutboxSpans
from prefactor_http.outbox.errors import OutboxError
from prefactor_http.outbox.receipt import Receipt


class RunCalls:
    """The calls of a run: writes are recorded, and the poll for a termination asks the API.

    Args:
        recorded: Records the start and the finish.
        reads: Asks the API.
        finish_timeout: Seconds that recording the finish may take.
    """

    def __init__(
        self, recorded: OutboxInstances, reads: AgentInstanceClient, finish_timeout: float
    ) -> None:
        self._recorded = recorded
        self._reads = reads
        self._finish_timeout = finish_timeout
        self._start: asyncio.Task[Receipt[AgentInstance]] | None = None

    async def start(
        self, agent_instance_id: str, timestamp: datetime | None = None
    ) -> Receipt[AgentInstance]:
        """Record the start, also if the task is cancelled."""
        self._start = asyncio.create_task(self._recorded.start(agent_instance_id, timestamp))
        return await asyncio.shield(self._start)

    async def finish(
        self,
        agent_instance_id: str,
        status: FinishStatus | None = None,
        timestamp: datetime | None = None,
    ) -> Receipt[AgentInstance]:
        """Record the finish: as ``failed`` if the instance cannot be cancelled any more.

        A refusal would tell a client that the start was applied. Here, only the file knows.
        """
        async with _time_limit(self._finish_timeout):
            if status == "cancelled" and await self._has_start():
                status = "failed"
            return await self._recorded.finish(agent_instance_id, status, timestamp)

    async def _has_start(self) -> bool:
        """Wait until the start is recorded or refused."""
        start = self._start
        if start is None:
            return False
        try:
            await asyncio.wait([start])
        except asyncio.CancelledError:
            start.cancel()  # It waits for room in the file: it must not get there on its own.
            raise
        return not start.cancelled() and start.exception() is None

    async def get(self, agent_instance_id: str) -> AgentInstance:
        """Read the instance."""
        return await self._reads.get(agent_instance_id)


class ClosingSpans:
    """Records the finishes of a run's spans within a time limit.

    Args:
        recorded: Records them.
        finish_timeout: Seconds that each may take.
    """

    def __init__(self, recorded: OutboxSpans, finish_timeout: float) -> None:
        self._recorded = recorded
        self._finish_timeout = finish_timeout

    async def finish(
        self,
        agent_span_id: str,
        status: FinishStatus | None = None,
        result_payload: Mapping[str, object] | None = None,
        timestamp: datetime | None = None,
        *,
        control_signal_callback: ControlSignalCallback | None = None,
    ) -> Receipt[AgentSpan]:
        """Record the finish."""
        async with _time_limit(self._finish_timeout):
            return await self._recorded.finish(
                agent_span_id,
                status,
                result_payload,
                timestamp,
                control_signal_callback=control_signal_callback,
            )


class OutboxRun(AgentInstanceRun):
    """The context manager of `Outbox.run`, and the handle that it yields.

    It is used like `AgentInstanceRun`. The ``span`` of a span's handle is the `Receipt` of its last
    write.
    """

    @property
    def id(self) -> str:
        """Id of the instance; empty if the run is not recorded.

        Raises:
            RuntimeError: The block has not been entered.
        """
        return "" if self._goes_unrecorded else super().instance.id

    @property
    def instance(self) -> AgentInstance:
        """Not available, because the run does not wait for responses.

        Raises:
            RuntimeError: Always. Read the instance with ``client.agent_instances.get(run.id)``.
        """
        raise RuntimeError(
            "the run is recorded in an outbox, so its instance is not known: read it with "
            "client.agent_instances.get(run.id) once it is delivered"
        )


@asynccontextmanager
async def _time_limit(finish_timeout: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(finish_timeout):
            yield
    except TimeoutError:
        raise OutboxError(
            f"not recorded within {finish_timeout:g} s (finish_timeout): the outbox is full, or "
            "its disk does not respond"
        ) from None
