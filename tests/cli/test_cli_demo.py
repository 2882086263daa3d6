import asyncio
import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from prefactor_http.cli.demo import command as _demo
from prefactor_http.cli.demo import comparison
from prefactor_http.cli.demo.agents import DemoAgent, load_agents
from prefactor_http.cli.demo.audit import Audit, Counts
from prefactor_http.cli.demo.command import FAST
from prefactor_http.cli.demo.comparison import DemoSpeed, compare
from prefactor_http.cli.demo.line_view import LineView
from prefactor_http.cli.demo.plain_client import PlainClient, PlainClientError
from prefactor_http.cli.demo.terminal_view import TerminalView
from prefactor_http.cli.demo.view import ClientName, conclusion, next_commands
from prefactor_http.models.agent_instance import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)
from prefactor_http.testing import FaultKind, LocalPrefactor

COMMAND = [str(Path(sys.executable).with_name("prefactor-http")), "demo"]
AGENT = DemoAgent(
    "Agent",
    {"external_identifier": "a1"},
    {"external_identifier": "s1", "span_type_schemas": []},
    ("complete",),
)


def figures(output):
    """Give the counts of both clients by name."""
    rows = re.findall(
        r"^(applied twice|lost|wrongly failed) +(\d+) +(\d+) *$", output, re.MULTILINE
    )
    return {name: (int(plain), int(package)) for name, plain, package in rows}


def without_controls(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def on_a_terminal(*arguments, interrupt_after=None, **variables):
    """Run the demo on a terminal of 80 columns and 24 lines, and give its exit code and output."""
    ours, theirs = pty.openpty()
    size = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | size | {"PYTHONIOENCODING": "utf-8"} | variables,
    ) as process:
        os.close(theirs)
        output = b""
        while part := _read(ours):
            output += part
            if interrupt_after is not None and interrupt_after in output.decode(errors="ignore"):
                process.send_signal(signal.SIGINT)
                interrupt_after = None
    os.close(ours)
    return process.returncode, output.decode()


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_in_a_pipe_the_demo_prints_plain_lines_with_the_counts_of_both_clients():
    started = time.monotonic()
    done = subprocess.run(COMMAND, capture_output=True, timeout=60, check=False)
    assert time.monotonic() - started < 20
    assert (done.returncode, done.stderr) == (0, b"")
    output = done.stdout.decode("ascii")
    assert "\x1b" not in output
    counts = figures(output)
    assert {package for _, package in counts.values()} == {0}
    assert counts["applied twice"][0] > 0
    assert counts["wrongly failed"][0] > 0
    assert re.search(r"^without keys    so far: \d+ applied twice, \d+ lost", output, re.MULTILINE)
    assert "each of the 105 writes exactly once" in output
    assert "prefactor-http  Support triage       register #1" in output


def test_the_demo_ends_with_commands_that_work(run):
    output = run("demo", "--seed", "3").output
    commands = re.findall(r"^  prefactor-http (.*?)  +#", output, re.MULTILINE)
    assert commands[0] == "demo --seed 4"
    for line in commands:
        subcommand, *options = line.split()
        help_text = run(subcommand, "--help").output
        assert all(option in help_text for option in options if option.startswith("--"))


@pytest.mark.long
def test_on_a_terminal_the_clients_run_side_by_side_in_under_20_seconds():
    started = time.monotonic()
    code, output = on_a_terminal()
    assert code == 0
    assert time.monotonic() - started < 20
    assert "\x1b[" in output
    plain = without_controls(output)
    assert re.search(r"^ +without keys +prefactor-http *\r$", plain, re.MULTILINE)
    last = figures(plain.replace("\r", "\n"))
    assert {package for _, package in last.values()} == {0}
    assert "exactly once" in plain
    assert "prefactor-http demo --seed 8" in plain
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= 80


@pytest.mark.parametrize(
    ("name", "value", "is_drawn"),
    [
        ("TERM", "xterm", True),
        ("TERM", "dumb", False),
        ("COLUMNS", "60", True),
        ("COLUMNS", "59", False),
        ("LINES", "23", False),
        ("ENCODING", "ascii", False),
    ],
)
def test_a_simple_terminal_gets_lines(exit_code, terminal, monkeypatch, name, value, is_drawn):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(type(terminal), "encoding", os.environ.get("ENCODING", "utf-8"))
    monkeypatch.setattr(_demo, "ANIMATED", FAST)
    monkeypatch.setattr(_demo, "load_agents", lambda: load_agents()[:2])
    assert exit_code("demo", stdout=terminal) == 0
    output = terminal.getvalue()
    assert ("\x1b[" in output) == is_drawn
    assert ("register #1" in output) != is_drawn
    assert {package for _, package in figures(without_controls(output)).values()} == {0}


def test_ctrl_c_exits_with_130_and_no_traceback():
    code, output = on_a_terminal(interrupt_after="●")
    assert code == 130
    assert "Traceback" not in output
    assert without_controls(output).rstrip().endswith("Error: interrupted by Ctrl-C.")
    assert output.count("\x1b[?25h") == output.count("\x1b[?25l")  # the cursor is shown again
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"Error: interrupted by Ctrl-C.\n")


def test_a_pipe_that_closes_early_does_not_disturb_the_demo():
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_with_every_seed_this_client_doubles_loses_and_misreports_nothing(run, seed):
    result = run("demo", "--seed", str(seed))
    assert result.exit_code == 0, result.output
    assert {package for _, package in figures(result.output).values()} == {0}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_the_frame_fits_its_height(width):
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, width=width, height=24, color_system=None)
    agents = load_agents()
    with TerminalView("title", [agent.name for agent in agents], console) as view:
        counts = asyncio.run(compare(agents, view, FAST, 0.35, seed=3))
    view.show_conclusion(conclusion(counts), next_commands(0.35, 3))
    plain = without_controls(page.getvalue())
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= width
    assert "same key: replayed" in plain  # the last line of the frame
    last = plain[plain.rindex("title") :]
    assert {package for _, package in figures(last).values()} == {0}


def test_the_terminal_is_drawn_while_marks_are_added():
    view = TerminalView("title", ["agent"], Console(file=io.StringIO(), width=80))
    is_done = threading.Event()

    def draw():
        while not is_done.is_set():
            view._render()

    with ThreadPoolExecutor() as threads:
        drawn = threads.submit(draw)
        for _ in range(20_000):
            view.show_run(ClientName.PACKAGE, "agent", "complete", None)
        is_done.set()
        drawn.result()  # raises what drawing has raised


def test_every_agent_can_be_registered_and_has_its_own_span_types():
    agents = load_agents()
    assert len({agent.name for agent in agents}) == 12
    # The audit recognises an agent by its version.
    assert len({agent.agent_version["external_identifier"] for agent in agents}) == 12
    for agent in agents:
        AgentVersionForRegister(**agent.agent_version)
        AgentSchemaVersionForRegister(**agent.agent_schema_version)
        types = agent.agent_schema_version["span_type_schemas"]
        assert len(types) >= 3
        assert all(span_type["result_schema"] and span_type["template"] for span_type in types)
    endings = {outcome for agent in agents for outcome in agent.outcomes}
    assert endings == {"complete", "failed", "cancelled"}


def test_a_write_that_this_client_does_not_get_through_makes_the_demo_fail(run, monkeypatch):
    monkeypatch.setattr(_demo, "FAULTS", 1.0)
    monkeypatch.setattr(_demo, "FAST", DemoSpeed(0.0, 0.001, 0.05))
    monkeypatch.setattr(comparison, "_MAX_RETRIES", 2)
    monkeypatch.setattr(_demo, "load_agents", lambda: load_agents()[:1])
    result = run("demo")
    assert result.exit_code == 1
    assert figures(result.output)["lost"][1] >= 1
    assert "must not happen" in result.output


class Recorder(LineView):
    """A view that keeps the attempts, in the order of each client."""

    def __init__(self):
        super().__init__("title", [AGENT.name])
        self.attempts = {name: [] for name in ClientName}
        self.doubled = {}

    def show_attempt(self, attempt):
        super().show_attempt(attempt)
        self.attempts[attempt.client].append((attempt.verb, attempt.outcome.name))

    def show_run(self, client, agent, status, error):
        super().show_run(client, agent, status, error)
        self.doubled[client] = self._counts[client].doubled


@pytest.mark.parametrize(
    ("verb", "kinds", "plain", "plain_counts"),
    [
        ("register", ["APPLIED_THEN_RESET"], "RESPONSE_LOST DOUBLED", Counts(3, 3, 1)),
        ("register", ["UNAVAILABLE", "RATE_LIMITED"], "NOT_DONE NOT_DONE DONE", Counts(3, 3)),
        ("start", ["CUT_IN_BODY"], "RESPONSE_LOST REFUSED", Counts(3, 2, 0, 1, 1)),
        ("finish", ["STALLED_BEFORE_REPLY"], "RESPONSE_LOST REFUSED", Counts(3, 3, 0, 0, 1)),
    ],
)
async def test_a_fault_shows_what_each_client_makes_of_it(
    monkeypatch, verb, kinds, plain, plain_counts
):
    class Scripted(LocalPrefactor):
        def __init__(self, **options):
            super().__init__(seed=options["seed"])
            faults = [FaultKind[kind] for kind in kinds]
            self.fail_next(*faults, operation=f"agent_instances.{verb}")

    monkeypatch.setattr(comparison, "LocalPrefactor", Scripted)
    view = Recorder()
    counts = await compare([AGENT], view, DemoSpeed(0.0, 0.001, 0.2), 0.0, 1)
    assert counts[ClientName.PLAIN] == plain_counts
    assert counts[ClientName.PACKAGE] == Counts(3, 3)
    assert view.doubled == {name: each.doubled for name, each in counts.items()}
    of_verb = {
        name: [outcome for each, outcome in attempts if each == verb]
        for name, attempts in view.attempts.items()
    }
    assert of_verb[ClientName.PLAIN] == plain.split()
    expected = plain.replace("DOUBLED", "REPLAYED").replace("REFUSED", "REPLAYED")
    assert of_verb[ClientName.PACKAGE] == expected.split()


async def test_a_write_that_belongs_to_no_call_counts_as_doubled():
    async with LocalPrefactor() as api:
        audit = Audit(api)
        call = audit.begin_call("register", "a1", None)
        session = aiohttp.ClientSession(api.url, headers={"Authorization": f"Bearer {api.token}"})
        async with session:
            client = PlainClient(session, 0, 0.0, 0.0, lambda *_: None)
            fields = {
                "agent_id": api.agent_id,
                "environment_id": api.environment_id,
                "agent_version": AGENT.agent_version,
                "agent_schema_version": AGENT.agent_schema_version,
            }
            await client.register(fields)
            # An agent with another version, and another action.
            other = await client.register(fields | {"agent_version": {"external_identifier": "b"}})
            await client.start(other)
    assert call.times_applied == 1
    assert audit.end_call(call, has_failed=False, outcome_unknown=False)
    audit.end()
    assert audit.counts == Counts(applied=1, doubled=2)
    assert not audit.counts.is_correct


@pytest.mark.parametrize(("unknown", "misreported"), [(True, 0), (False, 1)])
async def test_an_error_that_says_that_the_outcome_is_unknown_is_not_wrong(unknown, misreported):
    async with LocalPrefactor() as api:
        audit = Audit(api)
        call = audit.begin_call("register", "a1", None)
        assert not audit.end_call(call, has_failed=True, outcome_unknown=unknown)
        assert audit.counts.misreported == 0
        api.effects.extend(_register(api))
        assert audit.end_call(call, has_failed=True, outcome_unknown=unknown)
    assert audit.counts.misreported == misreported


def _register(api):
    """Give the effect of a register that the server would have applied."""
    from prefactor_http.testing import Effect

    api.agent_versions["v1"] = {"external_identifier": "a1"}
    api.instances["i1"] = {"agent_version_id": "v1"}
    return [Effect("agent_instances.register", None, "i1")]


async def test_the_plain_client_retries_transient_failures_and_sends_no_keys():
    attempts = []
    async with LocalPrefactor() as api:
        api.fail_next(FaultKind.UNAVAILABLE, FaultKind.RESET_BEFORE_READING)
        session = aiohttp.ClientSession(api.url, headers={"Authorization": f"Bearer {api.token}"})
        async with session:
            client = PlainClient(session, 5, 0.001, 0.001, lambda *each: attempts.append(each[:2]))
            with pytest.raises(PlainClientError, match="HTTP 404"):
                await client.finish("nothing", "complete")
            assert attempts == [(1, 503), (2, None), (3, 404)]
            api.fail_next(*[FaultKind.UNAVAILABLE] * 6)
            with pytest.raises(PlainClientError, match="HTTP 503"):
                await client.start("nothing")
        assert len(attempts) == 3 + 6
        assert {request.idempotency_key for request in api.requests} == {None}
