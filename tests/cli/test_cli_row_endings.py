"""How a job with many rows ends."""

import errno
import gzip
import os
import resource
import signal
import threading
import time

import pytest
from rows_support import last_words, named, write
from unused_port import unused_port

from prefactor_http.testing import Fault, FaultKind


def test_a_truncated_gzip_file_is_reported_after_its_rows_are_registered(
    api, run, shared, tmp_path, out
):
    path = write(tmp_path, "rows.jsonl.gz", gzip.compress(named(5000))[:-2000])
    result = run("register", path, *shared, "--job", "j", "--out", str(out))
    assert result.exit_code == 3
    assert "rows.jsonl.gz cannot be read to its end: " in result.stderr
    assert len(api.instances) == len(last_words(out))


def test_a_failed_fsync_of_the_results_is_reported(api, run, shared, tmp_path, out, monkeypatch):
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fsync)
    path = write(tmp_path, "rows.jsonl", named(3))
    result = run("register", path, *shared, "--job", "j", "--out", str(out))
    assert result.exit_code == 3
    assert "results.jsonl: [Errno 28] No space left on device." in result.stderr
    assert "Run the same command again to resume." in result.stderr
    assert len(api.instances) == len(last_words(out)) == 3


def test_a_run_stops_at_max_failures(api, run, shared, tmp_path, out):
    path = write(tmp_path, "rows.jsonl", b"oops\n" * 3 + named(5000))
    result = run("register", path, *shared, "--max-failures", "2", "--job", "j", "--out", str(out))
    assert result.exit_code == 1
    assert "stopped after 2 failures" in result.stderr
    assert len(api.instances) < 5000


def test_a_refused_token_ends_the_run_with_1(run, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_TOKEN", "not-a-token")
    result = run("register", write(tmp_path, "rows.jsonl", named(3)), *shared, "--job", "j")
    assert result.exit_code == 1
    assert "401" in result.stderr
    assert "PREFACTOR_API_TOKEN" in result.stderr


def test_an_unreachable_api_ends_the_run_with_3_and_fails_no_row(api, run, shared, tmp_path, out):
    dead = f"http://127.0.0.1:{unused_port()}"
    path = write(tmp_path, "rows.jsonl", named(3))
    command = ["register", path, *shared, "--job", "j", "--out", str(out)]
    result = run(*command, "--api-url", dead, "--max-outage", "0", "--max-retries", "0")
    assert result.exit_code == 3
    assert out.read_bytes() == b""
    assert "0 rows registered, 0 refused, 0 unknown" in result.stdout
    assert run(*command).exit_code == 0
    assert len(api.instances) == 3


def test_a_row_with_unknown_outcome_is_sent_again_by_the_next_run(api, run, shared, tmp_path, out):
    path = write(tmp_path, "rows.jsonl", named(3))
    command = ["register", path, *shared, "--job", "j", "--out", str(out)]
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    result = run(*command, "--max-outage", "0", "--max-retries", "0")
    assert result.exit_code == 3
    assert [line["ok"] for line in last_words(out).values()] == [None, None, None]
    assert run(*command).exit_code == 0
    assert all(line["ok"] for line in last_words(out).values())
    assert (len(api.effects), api.doubled) == (3, [])


def test_at_the_deadline_the_run_drains_and_can_be_resumed(api, run, shared, tmp_path, out):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=2))
    path = write(tmp_path, "rows.jsonl", named(3000))
    command = ["register", path, *shared, "--job", "j", "--out", str(out), "--concurrency", "1"]
    result = run(*command, "--deadline", "1")
    assert result.exit_code == 3
    assert "the deadline passed before all rows were registered" in result.stderr
    assert "Run the same command again to resume." in result.stderr
    assert 0 < len(api.instances) == len(last_words(out)) < 3000
    again = run(*command)
    assert again.exit_code == 0
    assert f"3,000 rows registered ({len(last_words(out)):,} before)" not in again.stdout
    assert (len(api.effects), api.doubled) == (3000, [])


def test_a_deadline_that_passes_while_the_last_rows_are_answered_is_not_an_error(
    api, run, shared, tmp_path
):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=1.5))
    path = write(tmp_path, "rows.jsonl", named(3))
    assert run("register", path, *shared, "--deadline", "1").exit_code == 0


@pytest.mark.parametrize(("size", "said"), [(200, "No space left"), (0, "File too large")])
def test_a_full_disk_ends_the_run(api, run, shared, tmp_path, out, size, said):
    path = write(tmp_path, "rows.jsonl", named(900))
    command = ["register", path, *shared, "--job", "j", "--out", str(out)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        result = run(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 3
    assert said in result.stderr
    assert "Run the same command again to resume." in result.stderr
    # Requests in flight are answered, and nothing more is sent.
    registered = len(api.instances)
    assert registered < 900
    lacking = registered if size == 0 else registered - 1
    assert f"It lacks {lacking} rows of this run." in result.stderr
    assert f"{registered} rows registered" in result.stdout
    assert run(*command).exit_code == 0
    assert sorted(last_words(out)) == list(range(900))
    assert (len(api.effects), api.doubled) == (900, [])


@pytest.mark.parametrize("change", ["deleted", "replaced", "truncated"])
@pytest.mark.parametrize("early", [True, False])
def test_results_that_another_process_changes_are_detected(
    api, run, shared, tmp_path, out, change, early
):
    # The answer to the second request waits until the file has been changed.
    count = 5000 if early else 300
    path = write(tmp_path, "rows.jsonl", named(count))
    command = ["register", path, *shared, "--job", "j", "--out", str(out), "--concurrency", "1"]
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=0.0))
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=1.1 if early else 0.4))

    def interfere():
        while not (out.exists() and out.stat().st_size):
            time.sleep(0.005)
        if change == "truncated":
            os.truncate(out, 0)
            return
        out.unlink()
        if change == "replaced":
            out.write_bytes(b"")

    thread = threading.Thread(target=interfere)
    thread.start()
    result = run(*command)
    thread.join()
    assert result.exit_code == 3
    said = "deleted or replaced" if change != "truncated" else "truncated"
    assert f"Error: {out} was {said} while the command ran.\n" in result.stderr
    assert "Run the same command again to resume." in result.stderr
    assert len(api.instances) < 5000
    assert run(*command).exit_code == 0
    assert (len(api.effects), api.doubled) == (count, [])
    assert len(last_words(out)) == count


def test_a_truncated_gzip_file_fails_a_dry_run(api, run, shared, tmp_path):
    path = write(tmp_path, "rows.jsonl.gz", gzip.compress(named(5000))[:-2000])
    result = run("register", path, *shared, "--dry-run")
    assert result.exit_code == 4
    assert "rows.jsonl.gz cannot be read to its end: Compressed file ended" in result.stderr
    assert "nothing was sent" in result.stderr
    assert "may be registered" not in result.stderr
    assert not api.requests


def test_a_file_that_cannot_be_read_is_wrong_usage(api, run, shared):
    result = run("register", "/proc/self/mem", *shared, "--format", "jsonl")
    assert result.exit_code == 2
    assert "cannot read /proc/self/mem: " in result.stderr
    assert "Nothing was sent." in result.stderr


def test_input_that_cannot_be_copied_is_wrong_usage(api, run, shared, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        result = run("register", "-", *shared, "--job", "j", stdin=named(3000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 2
    assert "the input cannot be copied to " in result.stderr
    assert "Set TMPDIR" in result.stderr


def test_results_need_a_regular_file(api, run, shared, tmp_path):
    path = write(tmp_path, "rows.jsonl", named(3))
    result = run("register", path, *shared, "--job", "j", "--out", "/dev/null")
    assert result.exit_code == 2
    assert "not a regular file" in result.stderr


def test_without_a_job_the_command_warns_of_duplicates(api, run, shared, tmp_path):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=2))
    path = write(tmp_path, "rows.jsonl", named(3000))
    result = run("register", path, *shared, "--deadline", "1", "--concurrency", "1")
    assert result.exit_code == 3
    assert "Without --job, running again registers them again" in result.stderr


def test_with_a_job_and_no_results_the_same_command_is_safe(api, run, shared, tmp_path):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=2))
    path = write(tmp_path, "rows.jsonl", named(3000))
    command = ["register", path, *shared, "--job", "j", "--concurrency", "1"]
    result = run(*command, "--deadline", "1")
    assert "no row is registered twice" in result.stderr
    assert run(*command).exit_code == 0
    assert (len(api.effects), api.doubled) == (3000, [])


def test_a_rate_limited_row_is_sent_again_by_the_next_run(api, run, shared, tmp_path, out):
    api.fail_next_item("rate_limited")
    path = write(tmp_path, "rows.jsonl", named(3))
    command = ["register", path, *shared, "--job", "j", "--out", str(out)]
    result = run(*command, "--max-outage", "0")
    assert result.exit_code == 3
    assert "the outcome of 1 row is unknown; the API may have registered" in result.stderr
    assert run(*command).exit_code == 0
    assert len(api.effects) == 3


def test_a_pipe_is_read_to_its_end(api, run, shared, tmp_path):
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(named(3),))
    writer.start()
    result = run("register", str(pipe), *shared, "--job", "j")
    writer.join()
    assert result.exit_code == 0, result.output
    assert len(api.instances) == 3


def test_two_signals_stop_a_run_that_waits(api, run, shared, tmp_path, out):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=25))

    def interrupt():
        while api.faults_pending:
            time.sleep(0.01)
        for _ in range(2):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    path = write(tmp_path, "rows.jsonl", named(3))
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    started = time.monotonic()
    result = run("register", path, *shared, "--job", "j", "--out", str(out))
    thread.join()
    assert time.monotonic() - started < 5
    assert result.exit_code == 3
    assert "stopped by SIGTERM before all rows were registered" in result.stderr
    assert signal.getsignal(signal.SIGTERM) == before
    # They were sent, and may be registered.
    assert [line["ok"] for line in last_words(out).values()] == [None, None, None]
    assert "3 unknown" in result.stdout
