# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false
# Dask is an extra, and only partly typed.
"""Registers rows from several processes with Dask.

Dask runs the task of a killed worker again. Keys are derived from the job, so that each row is
still registered once. Install the extra ``distributed``. Run it against a local API: start
``prefactor-http serve``, set the variables that it prints, then

    python examples/dask_job.py --job tickets-2026-11 --partitions 4
"""

import argparse
import os
import sys
from collections import Counter

from dask.distributed import Client

from prefactor_http import RegisterDict, RowDict
from prefactor_http.batch import RowResult, register_partition

AGENT: RegisterDict = {
    # With a deployment token, leave out agent_id and environment_id.
    "agent_id": os.environ.get("PREFACTOR_AGENT_ID"),
    "environment_id": os.environ.get("PREFACTOR_ENVIRONMENT_ID"),
    "agent_version": {"external_identifier": "batch-1.0.0"},
    "agent_schema_version": {"external_identifier": "batch-spans-1", "span_type_schemas": []},
}


def rows_of(partition: int, count: int) -> list[RowDict]:
    """Return the rows of a partition. They must be the same when the task runs again."""
    numbers = range(partition * count, (partition + 1) * count)
    return [{"external_identifier": f"ticket-{number}"} for number in numbers]


def register(partition: int, job: str, count: int) -> list[RowResult]:
    """Register a partition in a worker, which reads the rows itself."""
    return register_partition(rows_of(partition, count), job=job, partition=partition, **AGENT)


def main(job: str, partitions: int, rows: int, workers: int) -> int:
    """Run the job on a cluster on this machine; return the exit code."""
    with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        # A task whose run ended early, because the API was down for long, is tried twice more.
        tasks = [
            cluster.submit(register, partition, job, rows, retries=2)
            for partition in range(partitions)
        ]
        states: Counter[str] = Counter()
        for results in cluster.gather(tasks):
            states.update(result["state"] for result in results)
    print(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return 0 if states.keys() <= {"ok"} else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Register rows from several processes.")
    parser.add_argument("--job", required=True, help="name of the job; the same to repeat it")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rows", type=int, default=250, help="rows of a partition")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    sys.exit(main(options.job, options.partitions, options.rows, options.workers))
