"""A worker that records its agents and ends cleanly on SIGTERM.

Several agents work at the same time. Each is an agent instance, and its steps are nested spans.
They are recorded in an outbox: the agents do not wait for the API, and what is not delivered when
the process ends is delivered by the next one. On SIGTERM or Ctrl-C the agents are cancelled, and
each instance is finished before the process exits: none stays active. A second signal ends the
process immediately.

Run it against a local API: start ``prefactor-http serve``, set the variables that it prints, then

    python examples/worker.py --agents 3 --jobs 10
"""

import argparse
import asyncio
import logging
import os
import signal
import sys

from prefactor_http import HttpClientConfig, PrefactorHttpClient, RegisterDict
from prefactor_http.outbox import Outbox, OutboxRun
from prefactor_http.shutdown import cancel_on_signal

AGENT: RegisterDict = {
    # With a deployment token, leave out agent_id and environment_id.
    "agent_id": os.environ.get("PREFACTOR_AGENT_ID"),
    "environment_id": os.environ.get("PREFACTOR_ENVIRONMENT_ID"),
    "agent_version": {"external_identifier": "worker-1.0.0", "name": "Example worker"},
    "agent_schema_version": {
        "external_identifier": "worker-spans-1",
        "span_type_schemas": [
            {"name": "job", "params_schema": {"type": "object"}},
            {"name": "llm_call", "params_schema": {"type": "object"}},
        ],
    },
}

# Less than the supervisor waits before SIGKILL. Kubernetes waits 30 seconds.
GRACE = 20.0


async def work_on(run: OutboxRun, job: int) -> None:
    """Do one job: a span, with a span for each call of a model in it."""
    async with run.span("job", {"job": job}) as span:
        for question in ("What is it about?", "Is it urgent?"):
            async with run.span("llm_call", {"prompt": question}) as call:
                await asyncio.sleep(0.05)  # … the model answers …
                call.result_payload = {"answer": "no"}
        span.result_payload = {"answered": 2}


async def run_agent(outbox: Outbox, number: int, jobs: int) -> None:
    """Work on jobs as one agent instance."""
    async with outbox.run(**AGENT, poll_interval=5.0) as run:
        print(f"agent {number} is instance {run.id}", flush=True)
        for job in range(jobs):
            if run.terminated:
                break
            await work_on(run, job)


async def main(path: str, agents: int, jobs: int) -> int:
    """Run the agents until they are done or a signal arrives; return the exit code."""
    async with (
        # Outside: when it is closed, the agents have finished their instances.
        PrefactorHttpClient(HttpClientConfig.from_env()) as client,
        Outbox(path, client) as outbox,
        cancel_on_signal(signal.SIGTERM, signal.SIGINT, grace=GRACE) as stop,
        # A task group cancels its tasks and waits for them. Other tasks would go on.
        asyncio.TaskGroup() as group,
    ):
        print("ready", flush=True)
        for number in range(agents):
            group.create_task(run_agent(outbox, number, jobs))
    if stop.signal is None:
        print("done", flush=True)
        return 0
    print(f"stopped by {stop.signal.name}", flush=True)
    return 128 + stop.signal


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A worker that ends cleanly on SIGTERM.")
    parser.add_argument("--agents", type=int, default=3, help="agents that work at the same time")
    parser.add_argument("--jobs", type=int, default=10, help="jobs of each agent")
    parser.add_argument("--outbox", default="worker-outbox.db", help="file of the outbox")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    # On Linux and macOS, `uvloop.run` is faster and works the same.
    sys.exit(asyncio.run(main(options.outbox, options.agents, options.jobs)))
