"""A batch's memory is bounded by what is in flight, not by the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from batch_support import SCHEMA, VERSION

from prefactor_http.testing import LocalPrefactor, serving

FEW, MANY = 3_000, 60_000  # 300,000 would take too long
SPREAD = 32 * 1024 * 1024

PROGRAM = """
import asyncio, json, resource, sys, time
from prefactor_http import HttpClientConfig, PrefactorHttpClient

async def main(url, token, count, shared):
    async with PrefactorHttpClient(HttpClientConfig(url, token)) as client:
        rows = ({"external_identifier": f"{count}-{number}"} for number in range(count))
        ok = 0
        started = time.process_time()
        async for outcome in client.agent_instances.register_many(rows, **shared):
            ok += outcome.ok
        seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"ok": ok, "peak": peak, "seconds": seconds}))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])))
"""


def run_of(api: LocalPrefactor, count: int) -> dict[str, float]:
    shared = {
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        "agent_version": VERSION,
        "agent_schema_version": SCHEMA,
    }
    arguments = [api.url, api.token, str(count), json.dumps(shared)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], check=True, capture_output=True, timeout=100
    )
    return json.loads(done.stdout)


@pytest.mark.long
def test_many_rows_need_no_more_memory_than_a_few():
    with serving(LocalPrefactor(record=False)) as api:
        few, many = run_of(api, FEW), run_of(api, MANY)
        assert few["ok"] == FEW
        assert many["ok"] == MANY
        assert len(api.instances) == FEW + MANY
        assert api.doubled == []
    assert many["peak"] - few["peak"] < SPREAD
