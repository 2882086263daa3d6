"""Records a block of code in an outbox: `Outbox.run`."""

from __future__ import annotations

from datetime import datetime

from prefactor_http.endpoints.agent_instance import AgentInstanceClient
from prefactor_http.endpoints.agent_instance_run import AgentInstanceRun
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.types import FinishStatus
from prefactor_http.outbox.endpoints import OutboxInstances
from prefactor_http.outbox.receipt import Receipt


class RunCalls:
    """The calls of a run: writes are recorded, and the poll for a termination asks the API."""

    def __init__(self, recorded: OutboxInstances, reads: AgentInstanceClient) -> None:
        self._recorded = recorded
        self._reads = reads

    async def start(
        self, agent_instance_id: str, timestamp: datetime | None = None
    ) -> Receipt[AgentInstance]:
        """Record the start."""
        return await self._recorded.start(agent_instance_id, timestamp)

    async def finish(
        self,
        agent_instance_id: str,
        status: FinishStatus | None = None,
        timestamp: datetime | None = None,
    ) -> Receipt[AgentInstance]:
        """Record the finish."""
        return await self._recorded.finish(agent_instance_id, status, timestamp)

    async def get(self, agent_instance_id: str) -> AgentInstance:
        """Read the instance."""
        return await self._reads.get(agent_instance_id)


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
