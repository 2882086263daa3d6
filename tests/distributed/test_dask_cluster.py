"""On a Dask cluster, each row is registered once even if a worker is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from doc_pages import ON_A_CLUSTER, ROOT

from prefactor_http import HttpClientConfig
from prefactor_http.batch import register_partition
from prefactor_http.testing import LocalPrefactor, serving

pytestmark = pytest.mark.distributed

PARTITIONS, ROWS = 4, 600
SHARED = {
    "agent_version": {"external_identifier": "v1"},
    "agent_schema_version": {"external_identifier": "s1", "span_type_schemas": []},
}


def row(partition, position):
    """Every other row has a name; the rest are identical."""
    return {"external_identifier": f"{partition}-{position}"} if position % 2 else {}


@pytest.fixture
def cluster():
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers,
        Client(workers) as client,
    ):
        yield client


def busy_worker(cluster):
    """Return the process of a worker and the task that it is running."""
    processes = cluster.run(os.getpid)
    return next(
        (processes[name], tasks[0]) for name, tasks in cluster.processing().items() if tasks
    )


def times_killed(cluster, task):
    return cluster.run_on_scheduler(lambda dask_scheduler: dask_scheduler.tasks[task].suspicious)


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_killed_task_runs_again_and_each_row_is_registered_once(cluster):
    with serving(LocalPrefactor(faults=0.2, seed=5, stall=0.1)) as api:
        config = HttpClientConfig(
            api.url,
            api.deployment_token,
            initial_retry_delay=0.01,
            max_retry_delay=0.1,
            retry_budget=None,
        )
        partitions = [
            [row(partition, position) for position in range(ROWS)]
            for partition in range(PARTITIONS)
        ]
        tasks = [
            cluster.submit(
                register_partition,
                rows,
                job="import",
                partition=number,
                config=config,
                chunk_size=20,
                concurrency=2,
                **SHARED,
            )
            for number, rows in enumerate(partitions)
        ]
        until(lambda: len(api.effects) >= ROWS // 3)
        process, task = busy_worker(cluster)
        os.kill(process, signal.SIGKILL)
        results = cluster.gather(tasks)

        assert times_killed(cluster, task) == 1
        assert api.faults_injected.total() > 0
        results_of_all = [result for partition in results for result in partition]
        assert [result["index"] for result in results_of_all] == list(range(ROWS)) * PARTITIONS
        assert {result["state"] for result in results_of_all} == {"ok"}
        assert len({result["idempotency_key"] for result in results_of_all}) == PARTITIONS * ROWS
        assert len(api.effects) == len(api.instances) == PARTITIONS * ROWS
        assert {result["id"] for result in results_of_all} == api.instances.keys()
        assert api.doubled == api.lost == api.keys_reused == api.violations == []


def run_program(path, *arguments, api):
    environment = {
        "PREFACTOR_API_URL": api.url,
        "PREFACTOR_API_TOKEN": api.token,
        "PREFACTOR_AGENT_ID": api.agent_id,
        "PREFACTOR_ENVIRONMENT_ID": api.environment_id,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, path, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_the_manual_runs(tmp_path):
    (program,) = ON_A_CLUSTER
    path = tmp_path / "program.py"
    path.write_text(program.text, encoding="utf-8")
    with serving(LocalPrefactor()) as api:
        assert run_program(path, api=api) == "{'ok': 1000}\n"
        assert len(api.instances) == 1000


def test_the_example_registers_each_row_once_however_often_it_runs():
    arguments = ["--job", "tickets", "--partitions", "3", "--rows", "40"]
    with serving(LocalPrefactor()) as api:
        for _ in range(2):
            path = ROOT / "examples" / "dask_job.py"
            assert run_program(path, *arguments, api=api) == "120 ok\n"
        assert len(api.instances) == 120
        assert api.doubled == api.lost == []
