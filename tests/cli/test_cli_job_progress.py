import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from prefactor_http import Attempt
from prefactor_http.cli.output import Output
from prefactor_http.cli.progress import Bar, Log
from prefactor_http.cli.register.stats import JobStats
from prefactor_http.cli.streams import Stream


class ManualClock:
    """A clock that a test advances."""

    now = 100.0

    def __call__(self):
        return self.now


def attempt(error, *, status=None, seconds=0.1):
    return Attempt(
        operation="bulk.execute",
        method="POST",
        path="/api/v1/bulk",
        number=1,
        status=status,
        error=error,
        seconds=seconds,
        idempotency_key=None,
    )


@pytest.fixture
def clock():
    return ManualClock()


def output():
    return Output(Stream("standard output", sys.stdout), Stream("standard error", sys.stderr))


@pytest.fixture
def stats(clock):
    return JobStats(io.BytesIO(bytes(1000)), 1000, started=clock.now, clock=clock)


def advance(stats, clock, *, seconds):
    stats.file.seek(250)
    clock.now += seconds
    stats.ok, stats.refused, stats.unknown = 2500, 5, 1
    stats.ok_before = 1000


def test_a_bar_fits_80_columns(stats, clock):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with Bar(stats, output(), console) as bar:
        advance(stats, clock, seconds=1300)
        bar.say("rows.jsonl, line 8: [not markup]")
    assert "rows.jsonl, line 8: [not markup]" in screen.getvalue()
    assert " 25%  1:05:00 left" in screen.getvalue()
    assert "3,500 ok, 5 refused, 1 unknown, 2 rows/s" in screen.getvalue()


def test_duplicates_are_counted(stats):
    stats.ok, stats.duplicates = 3, 2
    assert stats.counts() == "3 ok, 0 refused, 2 duplicate"


def test_during_an_outage_there_is_no_estimate_of_the_time_left(stats, clock):
    screen = io.StringIO()
    with Bar(
        stats, output(), Console(file=screen, force_terminal=True, width=80, color_system=None)
    ):
        advance(stats, clock, seconds=1300)
        for _ in range(3):
            stats.record_attempt(attempt("reset", seconds=0.0))
        clock.now += 12
    assert "3,500 ok, 5 refused, 1 unknown, 3 retried, 2 rows/s" in screen.getvalue()
    assert "waiting: API down for 12 s" in screen.getvalue()
    assert " left" not in screen.getvalue()


def test_a_log_gets_a_line_per_interval(stats, clock, capsys):
    log = Log(stats, output(), interval=0.01)
    advance(stats, clock, seconds=10)
    with log:
        time.sleep(0.1)
    line = capsys.readouterr().err.splitlines()[0]
    assert line == "25%, 0:30 left: 3,500 ok, 5 refused, 1 unknown, 251 rows/s"


def test_the_time_left_is_shown_only_if_it_is_known(stats, clock, capsys):
    with Log(stats, output(), interval=0.01):
        time.sleep(0.05)
    assert capsys.readouterr().err.startswith("0%: 0 ok")
    stats.file.seek(1000)
    assert stats.seconds_left(0.0) is None
    screen = io.StringIO()
    with Bar(stats, output(), Console(file=screen, force_terminal=True, width=80)):
        pass
    assert "100%" in screen.getvalue()
    assert "left" not in screen.getvalue()


def test_a_single_lost_response_is_not_an_outage(stats, clock):
    stats.record_attempt(attempt("reset"))
    clock.now += 1
    assert stats.seconds_down is None
    clock.now += 2
    assert stats.seconds_down == pytest.approx(3, abs=0.2)
    stats.record_attempt(attempt(None))
    assert stats.seconds_down is None
    assert stats.retried == 1


def test_an_outage_counts_from_the_last_answer(stats, clock):
    clock.now += 5
    stats.record_attempt(attempt(None))
    clock.now += 30
    stats.record_attempt(attempt("timeout", seconds=30.1))
    assert stats.seconds_down == 30
    clock.now += 12
    stats.record_attempt(attempt("refused", seconds=0.0))
    assert stats.seconds_down == 42


def test_an_api_that_rate_limits_is_not_down(stats, clock):
    stats.record_attempt(attempt("503", status=503))
    stats.record_attempt(attempt("429", status=429))
    clock.now += 10
    assert stats.seconds_down is None
    assert stats.retried == 2


def test_a_log_shows_an_outage(stats, clock, capsys):
    stats.record_attempt(attempt("refused", seconds=0.0))
    clock.now += 12
    with Log(stats, output(), interval=0.01):
        time.sleep(0.05)
    assert "waiting: API down for 12 s" in capsys.readouterr().err.splitlines()[0]


def test_on_a_terminal_there_is_a_bar(api, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"oops\n")
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [
            str(Path(sys.executable).with_name("prefactor-http")),
            "register",
            rows.name,
            "--job",
            "j",
        ],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(terminal)
        said = b""
        try:
            while chunk := os.read(main, 4096):
                said += chunk
        except OSError:  # Linux's way to say that the other side is closed
            pass
    os.close(main)
    assert process.returncode == 1
    assert b"100%" in said
    assert b"line 1: not JSON" in said
