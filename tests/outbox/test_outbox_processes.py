"""Several outboxes on one file, and workers that are killed."""

import asyncio
import json
import random
import sys
from pathlib import Path

import pytest
from outbox_support import client_of, record_lifecycle, until
from unused_port import unused_port

from prefactor_http.exceptions import PrefactorConflictError
from prefactor_http.outbox import Outbox
from prefactor_http.testing import LocalPrefactor

WORKER = Path(__file__).with_name("outbox_worker.py")
ACTIONS = (
    "agent_instances.register",
    "agent_instances.start",
    "agent_instances.finish",
    "agent_spans.create",
    "agent_spans.finish",
)


async def test_one_outbox_delivers_and_the_other_takes_over(path, api, client):
    async with (
        Outbox(path, client) as first,
        client_of(api) as other_client,
        Outbox(path, other_client, poll_interval=0.02) as second,
    ):
        await until(lambda: first.is_forwarding)
        assert not second.is_forwarding
        [*_, finished] = await record_lifecycle(second, api)
        assert await finished.delivered(10) is None
        refused = await second.agent_instances.finish(finished.id)
        with pytest.raises(PrefactorConflictError):
            await refused.delivered(10)

        await first.close()

        await until(lambda: second.is_forwarding)
        [*_, finished] = await record_lifecycle(second, api)
        assert (await finished.delivered(10)).status == "complete"
    assert api.doubled == []


async def start_worker(api, path, log):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        WORKER,
        api.url,
        api.token,
        api.agent_id,
        api.environment_id,
        path,
        log,
        stdout=asyncio.subprocess.PIPE,
    )
    assert await process.stdout.readline() == b"recording\n"
    return process


@pytest.mark.long
@pytest.mark.parametrize("condition", ["faults", "down", "forgotten keys"])
async def test_killed_workers_lose_nothing_and_double_nothing(tmp_path, condition):
    path, log = tmp_path / "outbox.db", tmp_path / "recorded.jsonl"
    rng = random.Random(condition)
    faults = 0.0 if condition == "forgotten keys" else 0.3
    async with LocalPrefactor(
        port=unused_port(), faults=faults, seed=7, stall=0.3, record=False
    ) as api:
        if condition == "down":
            await api.stop()
        for _ in range(3):
            workers = [await start_worker(api, path, log) for _ in range(2)]
            await asyncio.sleep(rng.uniform(0.02, 0.2))
            for worker in workers:
                worker.kill()
                await worker.wait()
            if condition == "forgotten keys":
                api.forget_keys(ACTIONS)
        if condition == "down":
            await api.start()
        async with (
            client_of(api, request_timeout=0.5) as client,
            Outbox(path, client) as outbox,
        ):
            assert await outbox.flush(60)
            assert await outbox.dead_letters() == []

    recorded = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(recorded) > 100
    order = {effect.idempotency_key: place for place, effect in enumerate(api.effects)}
    assert len(order) == len(api.effects)
    assert {key for _, key in recorded} <= order.keys()
    by_instance = {}
    for instance_id, key in recorded:
        by_instance.setdefault(instance_id, []).append(order[key])
    assert all(places == sorted(places) for places in by_instance.values())
