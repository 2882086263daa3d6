"""Ctrl-C, SIGTERM and SIGHUP: what is printed, with which exit code, and how soon."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import Path

import pytest
from rows_support import last_words, named, write

from prefactor_http.cli.demo import command as demo_command
from prefactor_http.cli.demo.command import perform
from prefactor_http.cli.register.job import Job
from prefactor_http.cli.signals import Stopped, on_signals, raise_stopped, run_until_stopped
from prefactor_http.testing import Fault, FaultKind

COMMAND = str(Path(sys.executable).with_name("prefactor-http"))
SIGNALS = [
    (signal.SIGINT, "Ctrl-C", 130),
    (signal.SIGTERM, "SIGTERM", 3),
    (signal.SIGHUP, "SIGHUP", 3),
]


@contextmanager
def signalled(number, condition, *, times=1):
    """Send this process a signal once a condition holds."""

    def send():
        while not condition():
            time.sleep(0.005)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.2)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize(("number", "name", "code"), SIGNALS)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_signal_prints_the_key_of_a_register(api, run, registration, number, name, code, as_json):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=30))
    before = signal.getsignal(number)
    started = time.monotonic()
    with signalled(number, lambda: api.requests):
        result = run("register", str(registration), *(["--json"] if as_json else []))
    assert time.monotonic() - started < 8
    assert result.exit_code == code
    assert f"interrupted by {name} before the API answered." in result.stderr
    key = api.requests[0].idempotency_key
    if as_json:
        report = json.loads(result.stderr)
        assert (report["exit_code"], report["outcome_unknown"]) == (code, True)
        assert report["idempotency_key"] == key
    else:
        assert result.stderr.endswith(f"--idempotency-key {key}\n")
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "name", "code"), SIGNALS)
def test_a_signal_while_standard_input_is_read_says_that_nothing_was_sent(
    exit_code, shared, capsys, number, name, code
):
    reading, writing = os.pipe()
    is_reading = threading.Event()

    class Stdin(io.FileIO):
        def readinto(self, buffer):
            is_reading.set()
            return super().readinto(buffer)

    with io.TextIOWrapper(io.BufferedReader(Stdin(reading))) as stdin:
        with signalled(number, is_reading.is_set):
            assert exit_code("register", "-", *shared, "--job", "j", stdin=stdin) == code
        os.close(writing)
    said = capsys.readouterr().err
    assert said == f"Error: interrupted by {name}.\nNothing was sent.\n"


@pytest.mark.parametrize(
    ("number", "times"),
    [
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.long),
        (signal.SIGHUP, 2),
        (signal.SIGINT, 2),
    ],
)
def test_a_job_stops_in_time_if_the_api_stalls(api, run, shared, tmp_path, out, number, times):
    for _ in range(8):
        api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=30))
    path = write(tmp_path, "rows.jsonl", named(2000))
    command = ["register", path, *shared, "--job", "j", "--out", str(out)]
    started = time.monotonic()
    with signalled(number, lambda: api.requests, times=times):
        result = run(*command)
    assert time.monotonic() - started < (8 if times == 1 else 4.5)
    assert result.exit_code == (130 if number == signal.SIGINT else 3)
    # Those that were sent are unknown, and only those.
    unknown = [word for word in last_words(out).values() if word["ok"] is None]
    sent = sum(len(request.json["items"]) for request in api.requests)
    assert len(unknown) == sent < 900
    assert f"{sent} unknown" in result.stdout
    assert "Run the same command again to resume." in result.stderr


def test_a_job_with_unsent_rows_is_not_complete(api, run, shared, tmp_path):
    # All rows have been read; those of the first request are answered after the signal.
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=0.5))
    path = write(tmp_path, "rows.jsonl", named(150))
    command = ["register", path, *shared, "--job", "j", "--concurrency", "1"]
    with signalled(signal.SIGTERM, lambda: api.requests):
        result = run(*command)
    assert result.exit_code == 3
    assert "stopped by SIGTERM before all rows were registered" in result.stderr
    assert "100 rows registered, 0 refused, 0 unknown" in result.stdout
    assert run(*command).exit_code == 0
    assert len(api.instances) == 150


def test_unknown_rows_without_a_job_or_results_are_reported_with_their_keys(
    api, run, shared, tmp_path
):
    path = write(tmp_path, "rows.jsonl", named(3))
    for as_json in (False, True):
        seen = len(api.requests)
        api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=30))
        with signalled(signal.SIGTERM, lambda seen=seen: len(api.requests) > seen, times=2):
            options = ["--json"] if as_json else []
            result = run("register", path, *shared, "--deadline", "30", *options)
        keys = [item["idempotency_key"] for item in api.requests[-1].json["items"]]
        if as_json:
            rows = json.loads(result.stdout)["unknown_rows"]
            assert [row["idempotency_key"] for row in rows] == keys
            assert [row["line"] for row in rows] == [1, 2, 3]
        else:
            for line, key in enumerate(keys, 1):
                said = f"rows.jsonl, line {line}: may be registered, with idempotency_key {key}"
                assert said in result.stderr


@pytest.mark.parametrize("retries", ["0", "5"])
def test_a_job_that_waits_for_an_api_that_is_down_stops_in_time(
    api, run, shared, tmp_path, out, retries
):
    for _ in range(50):
        api.fail_next(FaultKind.RESET_BEFORE_READING)
    path = write(tmp_path, "rows.jsonl", named(300) + b"oops\n")
    command = ["register", path, *shared, "--job", "j", "--out", str(out)]
    started = time.monotonic()
    with signalled(signal.SIGTERM, lambda: api.faults_pending < 50):
        result = run(*command, "--max-retries", retries)
    assert time.monotonic() - started < 8
    assert result.exit_code == 3
    assert "stopped by SIGTERM before all rows were registered" in result.stderr
    assert {word["ok"] for word in last_words(out).values()} <= {None, False}
    for _ in range(api.faults_pending):
        run("ping", "--max-retries", "0")
    assert run(*command).exit_code == 1
    assert len(api.instances) == 300


def test_a_dry_run_can_be_interrupted(exit_code, shared, tmp_path, capsys, monkeypatch):
    path = write(tmp_path, "rows.jsonl", named(1000) * 200)
    started, dry_run = threading.Event(), Job.dry_run

    def started_dry_run(job):
        started.set()
        dry_run(job)

    monkeypatch.setattr(Job, "dry_run", started_dry_run)
    with signalled(signal.SIGINT, started.is_set):
        assert exit_code("register", path, *shared, "--dry-run") == 130
    assert capsys.readouterr().err.endswith("Error: interrupted by Ctrl-C.\nNothing was sent.\n")


def test_ctrl_c_ends_the_demo_with_130(run, monkeypatch):
    started = threading.Event()

    async def started_perform(*args):
        started.set()
        return await perform(*args)

    monkeypatch.setattr(demo_command, "perform", started_perform)
    with signalled(signal.SIGINT, started.is_set):
        result = run("demo")
    assert result.exit_code == 130
    assert result.stderr == "Error: interrupted by Ctrl-C.\n"


def test_a_signal_whose_exception_python_ignores_is_not_lost(monkeypatch):
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", lambda problem: ignored.append(problem.exc_type))
    with on_signals(raise_stopped):
        referenced = set()
        reference = weakref.ref(referenced, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del referenced
        assert reference() is None
        assert ignored == [Stopped]
        with pytest.raises(Stopped) as caught:
            run_until_stopped(lambda: asyncio.sleep(30))
    assert caught.value.name == "SIGTERM"


def test_a_signal_in_another_thread_wakes_an_idle_loop():
    # So does one that arrives when the loop is about to wait.
    sender = threading.Timer(
        0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    )
    started = time.monotonic()
    sender.start()
    with pytest.raises(Stopped, match="15"):
        run_until_stopped(lambda: asyncio.sleep(30))
    assert time.monotonic() - started < 15
    sender.join()


def test_a_signal_that_the_parent_ignores_stays_ignored(api, run, registration):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=0.3))
        with signalled(signal.SIGHUP, lambda: api.requests):
            result = run("register", str(registration))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.exit_code == 0, result.output


class Interrupting(io.StringIO):
    """A stream that a signal interrupts while it is written to."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        os.kill(os.getpid(), self.number)
        return super().write(text)


def test_ctrl_c_while_click_writes_its_own_text_ends_with_130(exit_code):
    assert exit_code("--version", stdout=Interrupting(signal.SIGINT)) == 130


def test_ctrl_c_while_the_error_is_printed_ends_immediately(api, exit_code, monkeypatch):
    class Ended(BaseException):
        pass

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended, match="130"):
        exit_code("show", "0" * 32, stderr=Interrupting(signal.SIGINT))


def test_a_job_can_be_resumed_after_sigkill(api, shared, tmp_path, out, run):
    path = write(tmp_path, "rows.jsonl", named(300))
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=30))
    command = ["register", path, *shared, "--job", "j", "--out", str(out), "--concurrency", "1"]
    with subprocess.Popen([COMMAND, *command], stderr=subprocess.DEVNULL) as process:
        while not api.requests:
            time.sleep(0.01)
        process.kill()
    assert run(*command).exit_code == 0
    assert len(api.instances) == len(last_words(out)) == 300
