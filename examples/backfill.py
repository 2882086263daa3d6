"""Imports runs that happened earlier, with their spans and original times.

The file has one run per line, as JSON:

    {"name": "run-1", "started_at": "2026-06-01T08:00:00Z", "finished_at": "2026-06-01T08:05:00Z",
     "status": "complete", "steps": [{"type": "llm_call", "payload": {"model": "small"},
     "started_at": "2026-06-01T08:01:00Z", "finished_at": "2026-06-01T08:02:00Z"}]}

The program can be run again after it was stopped or failed: all keys are derived from the names of
the job and the run, so that nothing is written twice. Run it against a local API: start
``prefactor-http serve``, set the variables that it prints, then

    python examples/backfill.py history.jsonl --job june
"""

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from prefactor_http import BulkItem, HttpClientConfig, PrefactorHttpClient, RegisterDict
from prefactor_http.idempotency import derive_key

AGENT: RegisterDict = {
    # With a deployment token, leave out agent_id and environment_id.
    "agent_id": os.environ.get("PREFACTOR_AGENT_ID"),
    "environment_id": os.environ.get("PREFACTOR_ENVIRONMENT_ID"),
    "agent_version": {"external_identifier": "imported-1"},
    "agent_schema_version": {
        "external_identifier": "imported-spans-1",
        "span_type_schemas": [{"name": "llm_call", "params_schema": {"type": "object"}}],
    },
}

# Runs that are kept in memory at a time.
WINDOW = 1000


class Step(msgspec.Struct):
    """One step of a run."""

    type: str
    started_at: str
    finished_at: str
    status: str = "complete"
    payload: dict[str, Any] = {}
    result: dict[str, Any] | None = None


class Run(msgspec.Struct):
    """One line of the file."""

    name: str
    started_at: str
    finished_at: str
    status: str = "complete"
    steps: list[Step] = []


def read(path: Path) -> Iterator[Run]:
    """Read the file line by line."""
    with path.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Run)


def events(job: str, runs: Mapping[str, Run]) -> Iterator[BulkItem]:
    """Return the calls that follow the registration of each run, by id of its instance."""
    for instance_id, run in runs.items():
        yield BulkItem(
            _type="agent_instances/start",
            idempotency_key=derive_key(job, run.name, "start"),
            agent_instance_id=instance_id,
            timestamp=run.started_at,
        )
        for number, step in enumerate(run.steps):
            yield BulkItem(
                _type="agent_spans/create",
                idempotency_key=derive_key(job, run.name, "step", number),
                details={
                    "agent_instance_id": instance_id,
                    "schema_name": step.type,
                    "status": step.status,
                    "payload": step.payload,
                    "result_payload": step.result,
                    "started_at": step.started_at,
                    "finished_at": step.finished_at,
                },
            )
        yield BulkItem(
            _type="agent_instances/finish",
            idempotency_key=derive_key(job, run.name, "finish"),
            agent_instance_id=instance_id,
            status=run.status,
            timestamp=run.finished_at,
        )


def instance_of(item: BulkItem) -> str:
    """Return the group of an item: the calls of an instance must stay in order."""
    fields = vars(item)
    return str(fields.get("agent_instance_id") or fields["details"]["agent_instance_id"])


async def backfill(client: PrefactorHttpClient, job: str, runs: Iterable[Run]) -> Counter[str]:
    """Import the runs; return how many rows and events ended in each state."""
    states: Counter[str] = Counter()
    source = iter(runs)
    while window := list(islice(source, WINDOW)):
        registered: dict[str, Run] = {}
        async for outcome in client.agent_instances.register_many(
            ({"external_identifier": run.name} for run in window), **AGENT, job=job
        ):
            states[outcome.state.value] += 1
            if outcome.instance is not None:
                registered[outcome.instance.id] = window[outcome.index]
            else:
                print(f"{window[outcome.index].name}: {outcome.error}", file=sys.stderr)
        async for outcome in client.bulk.stream(events(job, registered), group=instance_of):
            states[outcome.state.value] += 1
            if not outcome.ok:
                print(f"{outcome.type}: {outcome.error}", file=sys.stderr)
    return states


async def main(path: Path, job: str) -> int:
    """Import a file; return the exit code."""
    async with PrefactorHttpClient(HttpClientConfig.from_env()) as client:
        states = await backfill(client, job, read(path))
    print(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return 0 if states.keys() <= {"ok"} else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Import runs that happened earlier.")
    parser.add_argument("path", type=Path, help="file with one run per line, as JSON")
    parser.add_argument("--job", required=True, help="name of this import; the same to repeat it")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.path, options.job)))
