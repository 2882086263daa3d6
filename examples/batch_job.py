"""Registers the rows of a CSV file, and can be stopped and run again at any time.

Each row is an agent instance; the column ``external_identifier`` names it. Rows that are refused
are written to a second file. Keys are derived from the names of the job and the row, so that
nothing is registered twice, whatever stops the program. Run it against a local API: start
``prefactor-http serve``, set the variables that it prints, then

    python examples/batch_job.py tickets.csv --job tickets-2026-11 --refused refused.csv

The command ``prefactor-http register`` does the same and more. This program shows how to do it in
your own.
"""

import argparse
import asyncio
import csv
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

from prefactor_http import (
    HttpClientConfig,
    PrefactorHttpClient,
    PrefactorHttpError,
    RegisterDict,
)
from prefactor_http.shutdown import cancel_on_signal

AGENT: RegisterDict = {
    # With a deployment token, leave out agent_id and environment_id.
    "agent_id": os.environ.get("PREFACTOR_AGENT_ID"),
    "environment_id": os.environ.get("PREFACTOR_ENVIRONMENT_ID"),
    "agent_version": {"external_identifier": "batch-1.0.0"},
    "agent_schema_version": {"external_identifier": "batch-spans-1", "span_type_schemas": []},
}

STOPPED, UNAVAILABLE = 130, 3


def read(path: Path) -> Iterator[dict[str, str]]:
    """Read the rows one by one, so that the file can have any size."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


async def register(client: PrefactorHttpClient, path: Path, job: str, refused: Path) -> int:
    """Register the rows; return the exit code."""
    states: Counter[str] = Counter()
    with refused.open("w", newline="", encoding="utf-8") as file:
        rejects = csv.writer(file)
        rejects.writerow(["row", "state", "error"])
        try:
            async with aclosing(
                client.agent_instances.register_many(read(path), **AGENT, job=job, max_failures=100)
            ) as outcomes:
                async for outcome in outcomes:
                    states[outcome.state.value] += 1
                    if not outcome.ok:
                        rejects.writerow([outcome.index, outcome.state.value, outcome.error])
                    if states.total() % 1000 == 0:
                        print(f"{states.total()} rows", flush=True)
        except PrefactorHttpError as error:
            # The rows that were read have their outcome. The job continues where it stopped.
            print(f"stopped early: {error}", file=sys.stderr)
            return UNAVAILABLE
        finally:
            print(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return 0 if states.keys() <= {"ok"} else 1


async def main(path: Path, job: str, refused: Path) -> int:
    """Run the job until it is done or a signal arrives; return the exit code."""
    code = STOPPED
    async with (
        PrefactorHttpClient(HttpClientConfig.from_env()) as client,
        cancel_on_signal(signal.SIGTERM, signal.SIGINT, grace=20.0) as stop,
    ):
        code = await register(client, path, job, refused)
    if stop.signal is not None:
        print(f"stopped by {stop.signal.name}; run it again to continue", file=sys.stderr)
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Register the rows of a CSV file.")
    parser.add_argument("path", type=Path, help="CSV file with the column external_identifier")
    parser.add_argument("--job", required=True, help="name of the job; the same to continue it")
    parser.add_argument("--refused", type=Path, required=True, help="file for rows that are not ok")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.path, options.job, options.refused)))
