"""Records lifecycles in an outbox until it is killed. Reports what was recorded."""

import asyncio
import json
import os
import sys

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.outbox import Outbox

VERSION = {"name": "worker", "external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


async def work(outbox, agent_id, environment_id, note):
    for _ in range(4):
        registered = await outbox.agent_instances.register(
            agent_id, VERSION, SCHEMA, environment_id=environment_id
        )
        note(registered, registered)
        note(registered, await outbox.agent_instances.start(registered.id))
        created = await outbox.agent_spans.create(registered.id, "tool", "active")
        note(registered, created)
        note(registered, await outbox.agent_spans.finish(created.id))
        note(registered, await outbox.agent_instances.finish(registered.id))
    await asyncio.sleep(60)


async def main(url, token, agent_id, environment_id, path, log):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(registered, receipt):
        line = json.dumps([registered.id, receipt.idempotency_key])
        os.write(descriptor, f"{line}\n".encode())

    config = HttpClientConfig(
        url,
        token,
        initial_retry_delay=0.005,
        max_retry_delay=0.05,
        retry_budget=None,
        request_timeout=0.5,
    )
    async with PrefactorHttpClient(config) as client, Outbox(path, client) as outbox:
        sys.stdout.write("recording\n")
        sys.stdout.flush()
        works = (work(outbox, agent_id, environment_id, note) for _ in range(16))
        await asyncio.gather(*works)


asyncio.run(main(*sys.argv[1:]))
