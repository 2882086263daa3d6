"""Registers and finishes an instance through ``prefactor-livekit``, without a room."""

import asyncio
import json
import os
import sys

from prefactor_livekit import LIVEKIT_SDK_HEADER_ENTRY, PrefactorLiveKitSession


async def main(agent_id):
    session = PrefactorLiveKitSession.from_config(
        api_url=os.environ["PREFACTOR_API_URL"],
        api_token=os.environ["PREFACTOR_API_TOKEN"],
        agent_id=agent_id,
        agent_name="Receptionist",
    )
    instance = await session.ensure_initialized()
    await session.close()
    json.dump({"id": instance.id, "sdk": LIVEKIT_SDK_HEADER_ENTRY}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
