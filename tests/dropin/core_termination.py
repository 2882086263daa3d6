"""Terminates an instance from outside, and prints what ``prefactor-core`` reports."""

import asyncio
import json
import os
import sys

from core_lifecycles import configuration
from prefactor_core import PrefactorCoreClient

from prefactor_http import HttpClientConfig, PrefactorHttpClient


async def main(agent_id, environment_id):
    admin = PrefactorHttpClient(
        HttpClientConfig(os.environ["PREFACTOR_API_URL"], os.environ["PREFACTOR_API_TOKEN"])
    )
    async with admin, PrefactorCoreClient(configuration()) as client:
        instance = await client.create_agent_instance(
            agent_id=agent_id,
            agent_version={"name": "Researcher"},
            environment_id=environment_id,
        )
        monitor = client._termination_monitor
        terminated = monitor.get_termination_event()
        await admin.agent_instances.start(
            instance.id
        )  # not through the queue: it is applied on return
        span_id = await instance.create_span("agent:turn")
        await admin.agent_instances.terminate(instance.id, "over budget")
        await instance.finish_span(span_id)
        await asyncio.wait_for(terminated.wait(), 10)
        json.dump({"reason": monitor.termination_reason}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
