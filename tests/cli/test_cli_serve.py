import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest
from unused_port import unused_port

from prefactor_http import HttpClientConfig, PrefactorHttpClient, PrefactorNotFoundError, _pfid
from prefactor_http.cli.serve import _log_line
from prefactor_http.testing import FaultKind, LocalPrefactor

COMMAND = [str(Path(sys.executable).with_name("prefactor-http"))]


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


@pytest.mark.parametrize("options", [[], ["--log"]])
def test_ctrl_c_stops_serve_with_a_summary(run, options):
    port = unused_port()

    def interrupt():
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_local/stats").close()
                with pytest.raises(HTTPError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/ping")
            except OSError:
                time.sleep(0.02)
            else:
                break
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run("serve", "--port", str(port), *options)
    thread.join()
    assert result.exit_code == 0, result.output
    assert "no faults" in result.output
    assert "1 requests (0 failed on purpose), 0 writes applied" in result.output
    assert ("GET  /api/v1/ping  401  " in result.stderr) == bool(options)


def test_a_port_in_use_is_wrong_usage(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "cannot listen on port" in result.stderr


def exports(*options: str) -> list[str]:
    with subprocess.Popen(
        [*COMMAND, "serve", *options], stdout=subprocess.PIPE, text=True
    ) as server:
        head = [server.stdout.readline() for _ in range(6)]
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=10)
    return head


def test_the_same_port_and_seed_print_the_same_lines():
    port = str(unused_port())
    first = exports("--port", port, "--seed", "3")
    assert exports("--port", port, "--seed", "3") == first
    other = exports("--port", port, "--seed", "4")
    assert first[2:4] == other[2:4]  # the address and the token
    assert not set(first[4:]) & set(other[4:])


def test_ids_that_are_created_later_are_new_in_each_run(run):
    first, second = LocalPrefactor(seed=3), LocalPrefactor(seed=3)
    assert first.agent_id == second.agent_id
    assert first.agents == second.agents  # with their timestamps
    time.sleep(0.002)
    ids = [api._state.account.new_id() for api in (first, second)]
    assert first.agent_id < ids[0]
    assert _pfid.decode(ids[0]).timestamp_ms > _pfid.decode(first.agent_id).timestamp_ms


def test_serve_logs_each_request_without_the_token():
    with subprocess.Popen(
        [*COMMAND, "serve", "--log"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        head = [server.stdout.readline() for _ in range(6)]
        values = dict(line.removeprefix("export ").strip().split("=") for line in head[2:])
        url, token = values["PREFACTOR_API_URL"], values["PREFACTOR_API_TOKEN"]
        asyncio.run(_call(url, token))
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=10)
    moment = r"\d\d:\d\d:\d\d\.\d{3}"
    lines = log.splitlines()
    assert re.fullmatch(rf"{moment}  GET  /api/v1/ping  200  \d+\.\d ms  -", lines[0])
    assert re.fullmatch(
        rf"{moment}  POST /api/v1/agent_instance/x/start  404  \d+\.\d ms  a-key", lines[1]
    )
    assert re.fullmatch(rf"{moment}  GET  /api/v1/\S+  404  \d+\.\d ms  -", lines[2])
    assert token not in log


async def _call(url: str, token: str) -> None:
    async with PrefactorHttpClient(HttpClientConfig(url, token)) as client:
        await client.validate_token()
        with pytest.raises(PrefactorNotFoundError):
            await client.agent_instances.start("x", idempotency_key="a-key")
        with pytest.raises(PrefactorNotFoundError):
            await client.request("GET", f"/api/v1/{token}")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.UNAVAILABLE, "  503  "),
        (FaultKind.RESET_BEFORE_READING, "  -  "),
        (FaultKind.APPLIED_THEN_RESET, "  -  "),
        (FaultKind.CUT_IN_BODY, "  200  "),
    ],
)
async def test_the_log_names_the_fault(kind, expected):
    lines = []
    async with LocalPrefactor(record=False, on_request=lambda r: lines.append(_log_line(r))) as api:
        api.fail_next(kind)
        config = HttpClientConfig(api.url, api.token, initial_retry_delay=0.01)
        async with PrefactorHttpClient(config) as client:
            await client.validate_token()
        assert api.requests == []
    failed, repeated = lines
    assert expected in failed
    assert failed.endswith(f"({kind})")
    assert "  200  " in repeated
    assert "(" not in repeated
