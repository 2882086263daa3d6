import asyncio
import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from prefactor_http import Attempt, PrefactorHttpError
from prefactor_http.cli.demo import command as _demo
from prefactor_http.cli.demo.agents import load_agents
from prefactor_http.cli.demo.audit import Audit, DemoSummary
from prefactor_http.cli.demo.command import FAST, run_demo
from prefactor_http.cli.demo.plain_view import PlainView
from prefactor_http.cli.demo.terminal_view import TerminalView
from prefactor_http.cli.demo.tracker import AttemptOutcome, AttemptTracker
from prefactor_http.models.agent_instance import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)
from prefactor_http.testing import LocalPrefactor

COMMAND = [str(Path(sys.executable).with_name("prefactor-http")), "demo"]


def figures(output: str) -> dict[str, int]:
    rows = re.findall(r"^([a-z ]+?) +(\d+)  ", output, re.MULTILINE)
    return {name: int(figure) for name, figure in rows}


def test_in_a_pipe_the_demo_prints_plain_lines_and_doubles_and_loses_nothing():
    started = time.monotonic()
    done = subprocess.run(COMMAND, capture_output=True, timeout=60, check=False)
    assert time.monotonic() - started < 20
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    output = done.stdout.decode("ascii")
    assert "\x1b" not in output
    assert figures(output).items() >= {"doubled": 0, "lost": 0, "calls": 105}.items()
    assert figures(output)["responses lost"] > 0
    assert "register #1" in output


def test_on_a_terminal_the_demo_draws_and_takes_under_20_seconds():
    ours, theirs = pty.openpty()
    started = time.monotonic()
    with subprocess.Popen(
        COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        parts = []
        while part := _read(ours):
            parts.append(part)
    os.close(ours)
    assert process.returncode == 0
    assert time.monotonic() - started < 20
    output = b"".join(parts).decode()
    assert "\x1b[" in output
    assert "applied exactly once" in output


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_pipe_that_closes_early_does_not_disturb_the_demo():
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_every_seed_doubles_and_loses_nothing(run, seed):
    result = run("demo", "--seed", str(seed))
    assert result.exit_code == 0, result.output
    assert figures(result.output).items() >= {"doubled": 0, "lost": 0}.items()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, width=width, height=24, color_system=None)
    agents = load_agents()
    with TerminalView([agent.name for agent in agents], 0.35, console) as view:
        summary = asyncio.run(run_demo(agents, view, FAST, seed=3))
        view.show_error(agents[0].name, PrefactorHttpError("no more"))
    view.show_summary(summary)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", page.getvalue())
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= width
    assert "doubled" in plain
    assert summary.is_success


def test_every_agent_can_be_registered_and_has_its_own_span_types():
    agents = load_agents()
    assert len({agent.name for agent in agents}) == 12
    for agent in agents:
        AgentVersionForRegister(**agent.agent_version)
        AgentSchemaVersionForRegister(**agent.agent_schema_version)
        types = agent.agent_schema_version["span_type_schemas"]
        assert len(types) >= 3
        assert all(span_type["result_schema"] and span_type["template"] for span_type in types)
    endings = {outcome for agent in agents for outcome in agent.outcomes}
    assert endings == {"complete", "failed", "cancelled"}


def test_a_call_that_fails_makes_the_demo_fail(run, monkeypatch):
    monkeypatch.setattr(_demo, "FAULTS", 1.0)
    monkeypatch.setattr(_demo, "FAST", _demo.DemoSpeed(0.0, 0.001, 0.05))
    monkeypatch.setattr(_demo, "load_agents", lambda: load_agents()[:1])
    result = run("demo")
    assert result.exit_code == 1
    assert figures(result.output)["failed"] >= 1
    assert "must not happen" in result.output


async def test_the_audit_finds_doubled_and_lost_writes(monkeypatch):
    api = LocalPrefactor()
    audit = Audit()
    audit.record_call("agent_instances.register", "a")
    audit.record_call("agent_instances.start", "a")
    monkeypatch.setattr(api._ledger, "effects", _effects("register a k1", "register b k2"))
    summary = audit.summary(api, attempts=2)
    assert (summary.doubled, summary.lost, summary.is_success) == (1, 1, False)
    audit.record_error(PrefactorHttpError("refused"))
    assert audit.summary(api, attempts=2).doubled == 1
    unsure = PrefactorHttpError("reset")
    unsure.outcome_unknown = True
    unsure.idempotency_key = "k2"
    audit.record_error(unsure)
    summary = audit.summary(api, attempts=2)
    assert (summary.doubled, summary.lost, summary.failed) == (0, 1, 2)


def _effects(*lines: str):
    from prefactor_http.testing import Effect

    split = (line.split() for line in lines)
    return [Effect(f"agent_instances.{verb}", key, target) for verb, target, key in split]


def test_a_summary_with_doubled_writes_asks_for_a_report(capsys):
    view = PlainView(["Agent"], 0.5)
    view.show_summary(
        DemoSummary(
            runs=1,
            calls=3,
            attempts=3,
            faulty=0,
            responses_lost=0,
            replays=0,
            doubled=1,
            lost=0,
            failed=0,
        )
    )
    assert "must not happen" in capsys.readouterr().out


def test_an_attempt_that_never_reached_the_server_shows_the_error_of_the_client(capsys):
    attempt = Attempt(
        operation="agent_instances.start",
        method="POST",
        path="/api/v1/agent_instance/x/start",
        number=2,
        status=None,
        error="PrefactorConnectionError: connection lost",
        seconds=0.1,
        idempotency_key="some-key",
    )
    attempt = AttemptTracker(LocalPrefactor()).describe("Agent", attempt)
    assert (attempt.outcome, attempt.fault, attempt.verb) == (
        AttemptOutcome.NOT_DONE,
        None,
        "start",
    )
    PlainView(["Agent"], 0.5).show_attempt(attempt)
    assert "connection lost" in capsys.readouterr().out
