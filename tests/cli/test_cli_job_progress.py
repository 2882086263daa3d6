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
from prefactor_http.cli.register.progress import Bar, Log
from prefactor_http.cli.register.stats import Tally
from prefactor_http.cli.streams import Stream


class Hands:
    """A clock that goes when told to."""

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
    return Hands()


def output():
    return Output(Stream("standard output", sys.stdout), Stream("standard error", sys.stderr))


@pytest.fixture
def tally(clock):
    return Tally(io.BytesIO(bytes(1000)), 1000, clock.now, clock=clock)


def go_on(tally, clock, *, seconds):
    tally.file.seek(250)
    clock.now += seconds
    tally.ok, tally.refused, tally.unknown = 2500, 5, 1
    tally.ok_before = 1000


def test_a_bar_fits_80_columns(tally, clock):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with Bar(tally, output(), console) as bar:
        go_on(tally, clock, seconds=1300)
        bar.say("rows.jsonl, line 8: [not markup]")
    assert "rows.jsonl, line 8: [not markup]" in screen.getvalue()
    assert " 25%  1:05:00 left" in screen.getvalue()
    assert "3,500 ok, 5 refused, 1 unknown, 2 rows/s" in screen.getvalue()


def test_duplicates_are_counted(tally):
    tally.ok, tally.duplicates = 3, 2
    assert tally.figures() == "3 ok, 0 refused, 2 duplicate"


def test_nobody_knows_how_long_an_outage_lasts(tally, clock):
    screen = io.StringIO()
    with Bar(
        tally, output(), Console(file=screen, force_terminal=True, width=80, color_system=None)
    ):
        go_on(tally, clock, seconds=1300)
        for _ in range(3):
            tally.note_attempt(attempt("reset", seconds=0.0))
        clock.now += 12
    assert "3,500 ok, 5 refused, 1 unknown, 3 retried, 2 rows/s" in screen.getvalue()
    assert "waiting: API away for 12 s" in screen.getvalue()
    assert " left" not in screen.getvalue()


def test_a_log_has_a_line_now_and_then(tally, clock, capsys):
    log = Log(tally, output(), seconds=0.01)
    go_on(tally, clock, seconds=10)
    with log:
        time.sleep(0.1)
    line = capsys.readouterr().err.splitlines()[0]
    assert line == "25%, 0:30 left: 3,500 ok, 5 refused, 1 unknown, 251 rows/s"


def test_time_left_is_told_only_where_it_is_known(tally, clock, capsys):
    with Log(tally, output(), seconds=0.01):
        time.sleep(0.05)
    assert capsys.readouterr().err.startswith("0%: 0 ok")
    tally.file.seek(1000)
    assert tally.left(0.0) is None
    screen = io.StringIO()
    with Bar(tally, output(), Console(file=screen, force_terminal=True, width=80)):
        pass
    assert "100%" in screen.getvalue()
    assert "left" not in screen.getvalue()


def test_a_lost_reply_is_no_outage(tally, clock):
    tally.note_attempt(attempt("reset"))
    clock.now += 1
    assert tally.away is None
    clock.now += 2
    assert tally.away == pytest.approx(3, abs=0.2)
    tally.note_attempt(attempt(None))
    assert tally.away is None
    assert tally.retried == 1


def test_an_outage_counts_from_the_last_answer(tally, clock):
    clock.now += 5
    tally.note_attempt(attempt(None))
    clock.now += 30
    tally.note_attempt(attempt("timeout", seconds=30.1))
    assert tally.away == 30
    clock.now += 12
    tally.note_attempt(attempt("refused", seconds=0.0))
    assert tally.away == 42


def test_an_api_that_asks_to_slow_down_is_not_away(tally, clock):
    tally.note_attempt(attempt("503", status=503))
    tally.note_attempt(attempt("429", status=429))
    clock.now += 10
    assert tally.away is None
    assert tally.retried == 2


def test_a_log_tells_of_an_outage(tally, clock, capsys):
    tally.note_attempt(attempt("refused", seconds=0.0))
    clock.now += 12
    with Log(tally, output(), seconds=0.01):
        time.sleep(0.05)
    assert "waiting: API away for 12 s" in capsys.readouterr().err.splitlines()[0]


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
