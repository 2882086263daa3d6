"""Workers that are killed at random moments and started again apply each of their calls once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fault_server.process import FaultServer

LIFECYCLES = 60
STEPS = {
    "agent_instances.register",
    "agent_instances.start",
    "agent_instances.finish",
    "agent_spans.create",
    "agent_spans.finish",
}

# The keys, the ids and the timestamps depend only on the number of the lifecycle. So a worker that
# starts again repeats the calls of the one before.
WORKER = """
import asyncio, logging, sys
from datetime import UTC, datetime
from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorHttpError
from prefactor_http.idempotency import derive_key

url, token, count = sys.argv[1:]
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}
logging.disable(logging.WARNING)

async def repeat(call):
    while True:
        try:
            return await call()
        except PrefactorHttpError as error:
            if not error.outcome_unknown and getattr(error, "code", "") in VERDICTS:
                raise

VERDICTS = {"invalid_action", "idempotency_conflict", "validation_errors"}

async def lifecycle(client, number):
    instance, span = f"5{number:031d}", f"4{number:031d}"
    key = lambda step: derive_key("worker", number, step)
    instances, spans = client.agent_instances, client.agent_spans
    await repeat(lambda: instances.register(
        "1" * 32, VERSION, SCHEMA, id=instance, idempotency_key=key("register")))
    await repeat(lambda: instances.start(instance, MOMENT, key("start")))
    await repeat(lambda: spans.create(instance, "step", "active", {}, id=span, started_at=MOMENT,
                                      idempotency_key=key("create")))
    await repeat(lambda: spans.finish(span, None, None, MOMENT, key("end")))
    await repeat(lambda: instances.finish(instance, None, MOMENT, key("finish")))

async def main():
    config = HttpClientConfig(url, token, request_timeout=0.5, initial_retry_delay=0.002,
                              max_retry_delay=0.05, retry_budget=None, max_response_bytes=2_000_000)
    numbers = iter(range(int(count)))
    async with PrefactorHttpClient(config) as client:
        async def work():
            for number in numbers:
                await lifecycle(client, number)
        await asyncio.gather(*(work() for _ in range(16)))
    print("done")

asyncio.run(main())
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_calls_with_derived_keys_are_applied_once_by_workers_that_are_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    dice = random.Random(number)
    with FaultServer(tmp_path / "ledger.sqlite") as server:
        server.configure(seed=int(number), faults=0.3, at_accept=0.1)
        command = [sys.executable, "-c", WORKER, server.url, server.token, str(LIFECYCLES)]
        for kill in range(4):
            with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
                until_requests(server, worker, (kill + 1) * 60)
                time.sleep(dice.uniform(0, 0.05))
                worker.send_signal(number)
            assert worker.returncode == -number
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "done\n", done.stderr
        effects = server.effects()
        assert {times for *_, times in effects} == {1}
        assert Counter(operation for operation, *_ in effects) == dict.fromkeys(STEPS, LIFECYCLES)
        assert server.counts()["replays"] > 20  # what the workers before had done
        assert not server.counts()["conflicts"]


def until_requests(server: FaultServer, worker: subprocess.Popen[bytes], more: int) -> None:
    """Wait until the worker has made some requests."""
    goal = server.counts()["requests"] + more
    ended = time.monotonic() + 30
    while server.counts()["requests"] < goal:
        assert worker.poll() is None
        assert time.monotonic() < ended
        time.sleep(0.005)
