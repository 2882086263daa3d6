"""Jobs in their own process: killed, stopped, with incomplete results, and resumed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefactor_http.testing import Fault, FaultKind, LocalPrefactor, serving

COMMAND = str(Path(sys.executable).with_name("prefactor-http"))


def point_to(server, monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_URL", server.url)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", server.token)
    monkeypatch.setenv("PREFACTOR_AGENT_ID", server.agent_id)
    monkeypatch.setenv("PREFACTOR_ENVIRONMENT_ID", server.environment_id)


@pytest.fixture
def api(prefactor_server, monkeypatch):
    point_to(prefactor_server, monkeypatch)
    return prefactor_server


@pytest.fixture
def faulty_api(monkeypatch):
    """Serve an API that breaks 15 % of all attempts; what stalls, stalls briefly."""
    with serving(LocalPrefactor(faults=0.15, seed=7, stall=0.2, record=False)) as server:
        point_to(server, monkeypatch)
        yield server


@pytest.fixture
def command(tmp_path):
    """Give the command for a file of that many rows, which goes on where it stopped."""

    def command(count, *options):
        rows = tmp_path / "rows.jsonl"
        version, schema = tmp_path / "version.json", tmp_path / "schema.json"
        version.write_text('{"external_identifier": "v1"}')
        schema.write_text('{"external_identifier": "s1", "span_type_schemas": []}')
        # Every other row has no name: its key comes from its place and content.
        rows.write_text(
            "".join(
                json.dumps({"external_identifier": f"n-{n}"} if n % 2 else {"purpose": "eval"})
                + "\n"
                for n in range(count)
            )
        )
        return [
            COMMAND,
            "register",
            str(rows),
            *("--agent-version", str(version), "--schema", str(schema)),
            *("--job", "nightly", "--out", str(tmp_path / "results.jsonl")),
            *options,
        ]

    return command


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results.jsonl"


def last_words(path):
    return {line["index"]: line for line in map(json.loads, path.read_text().splitlines())}


def run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def until(condition, process):
    limit = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_each_once(api, out, count):
    words = last_words(out)
    assert sorted(words) == list(range(count))
    assert all(word["ok"] is True for word in words.values())
    assert {word["id"] for word in words.values()} == set(api.instances)
    assert len(api.effects) == len(api.instances) == count
    assert api.doubled == api.lost == api.keys_reused == []


@pytest.mark.long
def test_killed_six_times_despite_faults_it_registers_and_reports_each_row_once(
    faulty_api, command, out
):
    count = 30_000
    dice = random.Random(7)
    for kill in range(6):
        with subprocess.Popen(
            command(count), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            most = (kill + 1) * 4_000
            until(lambda most=most: lines_in(out) >= most - dice.randrange(3_000), process)
            time.sleep(dice.random() * 0.05)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        # A kill seldom tears a line: what the machine's own end may do is done to some by hand.
        if kill % 2:
            os.truncate(out, out.stat().st_size - dice.randrange(1, 60))
    done = run(command(count))
    assert done.returncode == 0, done.stderr
    assert "30,000 rows registered" in done.stdout
    assert_each_once(faulty_api, out, count)
    assert faulty_api.replies_lost > 10


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 3)])
def test_after_a_signal_the_run_drains_and_can_be_resumed(api, command, out, number, code):
    with subprocess.Popen(
        command(20_000), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: lines_in(out) > 500, process)
        process.send_signal(number)
        said, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Stopping" in errors
    assert "Run the same command again to resume." in errors
    assert "rows registered" in said
    # Nothing that was sent is left without its line.
    assert len(last_words(out)) == len(api.instances) < 20_000
    assert run(command(20_000)).returncode == 0
    assert_each_once(api, out, 20_000)


def test_a_second_signal_stops_immediately(api, command, out):
    # Request 1 is answered; the next stalls longer than any drain.
    with subprocess.Popen(
        command(5_000, "--concurrency", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: lines_in(out) >= 100, process)
        api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=25))
        until(lambda: api.faults_pending == 0, process)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert time.monotonic() - started < 3
    assert process.returncode == 3
    assert run(command(5_000)).returncode == 0
    assert_each_once(api, out, 5_000)
