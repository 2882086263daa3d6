"""Runs lifecycles with nested spans through ``prefactor-core``, and prints what it did.

It runs in the environment of ``prefactor-core`` and does not depend on the version of the HTTP
client.
"""

import asyncio
import json
import os
import sys

from prefactor_core import PrefactorCoreClient, PrefactorCoreConfig, QueueConfig, SchemaRegistry

from prefactor_http.config import HttpClientConfig

STEPS = ("plan", "search", "answer")


def configuration(*, batched=False):
    registry = SchemaRegistry()
    for name in ("agent:turn", "agent:step", "agent:tool"):
        registry.register(name, {"type": "object"})
    return PrefactorCoreConfig(
        http_config=HttpClientConfig(
            api_url=os.environ["PREFACTOR_API_URL"],
            api_token=os.environ["PREFACTOR_API_TOKEN"],
            request_timeout=0.4,
            max_retries=12,
            initial_retry_delay=0.002,
            max_retry_delay=0.05,
            **({"auto_batch": True} if batched else {}),
        ),
        # With more than one worker, a finish can be sent before its start. If calls are batched,
        # those on one instance keep their order.
        queue_config=QueueConfig(num_workers=3 if batched else 1),
        schema_registry=registry,
    )


async def lifecycle(client, number, agent_id, environment_id):
    """Run one instance; return its id, its status, and the parent and status of each span."""
    spans = {}
    instance = await client.create_agent_instance(
        agent_id=agent_id,
        agent_version={"name": "Researcher", "external_identifier": "researcher-1"},
        external_schema_version_id="researcher-1",
        environment_id=environment_id,
        external_identifier=f"run-{number}",
    )
    await instance.start()
    async with instance.span("agent:turn") as turn:
        await turn.start({"question": number})
        spans[turn.id] = (None, "complete")
        for step in STEPS:
            async with instance.span("agent:step") as span:
                await span.start({"step": step})
                spans[span.id] = (turn.id, "failed" if step == "search" else "complete")
                async with instance.span("agent:tool", payload={"tool": step}) as tool:
                    pass  # started and finished at the end of the block
                spans[tool.id] = (span.id, "complete")
                if step == "search":
                    await span.fail({"error": "nothing found"})
                else:
                    await span.complete({"step": step})
        async with instance.span("agent:step") as skipped:
            await skipped.cancel()  # it was created as pending
        turn.set_result({"answer": number})
    status = "failed" if number % 4 == 0 else "complete"
    await instance.finish(status=status)
    return {"id": instance.id, "status": status, "spans": spans}


async def main(clients, lifecycles, agent_id, environment_id, batched=False):
    async def run_one_by_one(first):
        async with PrefactorCoreClient(configuration(batched=batched)) as client:
            return [
                await lifecycle(client, number, agent_id, environment_id)
                for number in range(first, lifecycles, clients)
            ]

    done = await asyncio.gather(*(run_one_by_one(first) for first in range(clients)))
    json.dump([each for lifecycles_of_client in done for each in lifecycles_of_client], sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
