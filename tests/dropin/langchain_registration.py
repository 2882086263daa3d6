"""Registers, runs and finishes an instance through ``prefactor-langchain``, without a model."""

import asyncio
import json
import os
import sys
from uuid import uuid4

from prefactor_langchain import LANGCHAIN_SDK_HEADER_ENTRY, PrefactorMiddleware
from prefactor_langchain.callback_handler import PrefactorCallbackHandler


async def main(agent_id, environment_id):
    middleware = PrefactorMiddleware.from_config(
        api_url=os.environ["PREFACTOR_API_URL"],
        api_token=os.environ["PREFACTOR_API_TOKEN"],
        agent_id=agent_id,
        agent_name="Triage",
        environment_id=environment_id,
    )
    instance = await middleware.ensure_initialized()
    handler = PrefactorCallbackHandler(instance=instance)
    run_id = uuid4()
    await handler.on_chain_start(None, {"ticket": 7}, run_id=run_id, name="triage")
    await handler.on_chain_end({"queue": "billing"}, run_id=run_id)
    await middleware.close()
    json.dump({"id": instance.id, "sdk": LANGCHAIN_SDK_HEADER_ENTRY}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
