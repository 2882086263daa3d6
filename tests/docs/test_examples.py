"""Each program in examples/ runs against the local API.

tests/test_shutdown.py runs worker.py, and tests/distributed runs dask_job.py.
"""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from doc_pages import ROOT

from prefactor_http.testing import Fault, FaultKind, LocalPrefactor, serving

EXAMPLES = ROOT / "examples"
ROWS = 40


@pytest.fixture
def start(tmp_path):
    processes = []

    def start(api, name, *arguments):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PREFACTOR_API_URL": api.url,
            "PREFACTOR_API_TOKEN": api.token,
            "PREFACTOR_AGENT_ID": api.agent_id,
            "PREFACTOR_ENVIRONMENT_ID": api.environment_id,
        }
        process = subprocess.Popen(
            [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    def run(api, name, *arguments, code=0):
        process = start(api, name, *arguments)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        return output, errors

    return run


def test_there_is_a_test_for_each_example():
    tested = {"backfill", "batch_job", "dask_job", "quickstart", "test_my_agent", "worker"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_quickstart_records_a_run_with_a_span(prefactor_server, run):
    output, _ = run(prefactor_server, "quickstart.py")
    (instance,) = prefactor_server.instances.values()
    assert output.startswith(f"{instance['id']} complete ")
    assert [span["status"] for span in prefactor_server.spans.values()] == ["complete"]


def history(path, runs):
    step = {
        "type": "llm_call",
        "payload": {"model": "small"},
        "result": {"answer": "no"},
        "started_at": "2026-06-01T08:01:00Z",
        "finished_at": "2026-06-01T08:02:00Z",
    }
    lines = [
        {
            "name": f"run-{number}",
            "started_at": "2026-06-01T08:00:00Z",
            "finished_at": "2026-06-01T08:05:00Z",
            "status": "failed" if number == 0 else "complete",
            "steps": [step, step],
        }
        for number in range(runs)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_backfill_imports_each_run_once_however_often_it_runs(run, tmp_path):
    history(tmp_path / "history.jsonl", 12)
    with serving(LocalPrefactor(faults=0.15, seed=4, stall=0.1)) as api:
        for _ in range(2):
            output, _ = run(api, "backfill.py", "history.jsonl", "--job", "june")
            assert output == f"{12 * 5} ok\n"
        assert api.faults_injected.total() > 0
        statuses = Counter(instance["status"] for instance in api.instances.values())
        assert statuses == {"complete": 11, "failed": 1}
        times = {(each["started_at"], each["finished_at"]) for each in api.instances.values()}
        assert times == {("2026-06-01T08:00:00.000000Z", "2026-06-01T08:05:00.000000Z")}
        assert len(api.spans) == 24
        assert {span["result_payload"]["answer"] for span in api.spans.values()} == {"no"}
        assert api.doubled == api.lost == []


def test_backfill_reports_what_is_refused(prefactor_server, run, tmp_path):
    history(tmp_path / "history.jsonl", 2)
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text().replace("08:05:00Z", "07:00:00Z", 1))
    output, errors = run(prefactor_server, "backfill.py", path, "--job", "june", code=1)
    assert "1 failed" in output
    assert "agent_instances/finish: 422" in errors


def table(path, rows):
    path.write_text(
        "external_identifier,purpose\n" + "".join(f"ticket-{n},\n" for n in range(rows))
    )


def test_a_batch_job_writes_down_what_is_refused(prefactor_server, run, tmp_path):
    table(tmp_path / "rows.csv", ROWS)
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("ticket-odd,odd\n")
    arguments = ("rows.csv", "--job", "tickets", "--refused", "refused.csv")
    output, _ = run(prefactor_server, "batch_job.py", *arguments, code=1)
    assert output == f"1 failed, {ROWS} ok\n"
    (refused,) = csv.DictReader((tmp_path / "refused.csv").read_text().splitlines())
    assert (refused["row"], refused["state"]) == (str(ROWS), "failed")
    assert "purpose" in refused["error"]


def test_a_batch_job_that_is_stopped_continues(start, run, tmp_path):
    requests = itertools.count(1)

    def fail_after_a_while(_request):
        if next(requests) == 11:
            api.fail_next(*[Fault(FaultKind.UNAVAILABLE, retry_after=60)] * 30)

    table(tmp_path / "rows.csv", 3000)
    arguments = ("rows.csv", "--job", "tickets", "--refused", "refused.csv")
    with serving(LocalPrefactor(on_request=fail_after_a_while)) as api:
        process = start(api, "batch_job.py", *arguments)
        assert process.stdout.readline() == "1000 rows\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "stopped by SIGTERM; run it again to continue" in errors
        assert 1000 <= len(api.instances) < 3000
        api.calm()
        output, _ = run(api, "batch_job.py", *arguments)
        assert output.endswith("3000 ok\n")
        assert len(api.instances) == 3000
        assert api.doubled == api.lost == []


def test_the_tests_of_an_agent_pass():
    options = ["-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, EXAMPLES / "test_my_agent.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout
