import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

COMMAND = [str(Path(sys.executable).with_name("prefactor-http"))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_variables_that_serve_prints_configure_the_other_commands(tmp_path, ending):
    with subprocess.Popen(
        [*COMMAND, "serve", "--faults", "0.2", "--seed", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        head = [server.stdout.readline() for _ in range(6)]
        assert "20% of requests fail, seed 3" in head[0]
        exports = dict(
            line.removeprefix("export ").strip().split("=")
            for line in head
            if line.startswith("export ")
        )
        path = tmp_path / "agent.json"
        path.write_text(
            json.dumps(
                {
                    "agent_version": {"external_identifier": "1"},
                    "agent_schema_version": {"external_identifier": "1", "span_type_schemas": []},
                }
            )
        )
        register = subprocess.run(
            [*COMMAND, "register", str(path)],
            env=os.environ | exports,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert register.returncode == 0, register.stderr
        assert "pending" in register.stdout
        server.send_signal(ending)
        rest, errors = server.communicate(timeout=10)
    assert server.returncode == 0
    assert "1 write applied" in rest
    assert "0 doubled, 0 lost" in rest
    assert errors == ""


def test_ctrl_c_stops_serve_with_a_summary(run):
    port = free_port()

    def interrupt():
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_local/stats").close()
            except OSError:
                time.sleep(0.02)
            else:
                break
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run("serve", "--port", str(port))
    thread.join()
    assert result.exit_code == 0, result.output
    assert "no faults" in result.output
    assert "0 requests (0 failed on purpose), 0 writes applied" in result.output


def test_a_port_in_use_is_wrong_usage(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "cannot listen on port" in result.stderr
