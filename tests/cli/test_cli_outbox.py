"""``prefactor-http outbox``, on real files and a local API."""

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.outbox import Outbox
from prefactor_http.outbox.lock import ForwarderLock
from prefactor_http.testing import FaultKind

VERSION = {"external_identifier": "v1"}
SCHEMA = {"external_identifier": "s1", "span_type_schemas": []}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def record(api, path):
    """Record registrations, each with a start, without delivering them."""

    def record(*names, **options):
        asyncio.run(work(names, options))

    async def work(names, options):
        elsewhere = ForwarderLock(path)  # as if another process delivered: nothing is sent here
        assert elsewhere.acquire()
        async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
            outbox = Outbox(path, client, **options)
            await outbox.open()
            for name in names:
                registered = await outbox.agent_instances.register(
                    api.agent_id,
                    VERSION,
                    SCHEMA,
                    environment_id=api.environment_id,
                    external_identifier=name,
                )
                await outbox.agent_instances.start(registered.id)
            await outbox.close(drain_timeout=0)
        elsewhere.release()

    return record


@pytest.fixture
def dead_letters(record, run, path):
    """Make a dead letter: a name that is taken, which blocks a start."""
    record("taken", "taken")
    assert run("outbox", "drain", str(path)).exit_code == 1


def status_of(run, path):
    return json.loads(run("outbox", "status", str(path), "--json").stdout)


def test_status_shows_what_waits_and_what_to_do_next(api, run, record, path):
    record("a", "b")
    result = run("outbox", "status", str(path))
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["outbox"] == str(path)
    assert lines["API"] == api.url
    assert lines["delivery"] == "no process delivers"
    assert lines["pending"].startswith("4 (")
    assert " kB), the oldest recorded " in lines["pending"]
    assert "dead letters    0\n" in result.stdout
    assert f"run: prefactor-http outbox drain {path}" in result.stderr
    stats = status_of(run, path)
    assert (stats["pending"], stats["host"], stats["is_delivering"]) == (4, api.url, False)
    assert stats["oldest_age"] > 0


def test_status_of_an_empty_outbox_suggests_nothing(run, record, path):
    record()
    result = run("outbox", "status", str(path))
    assert "pending         0\n" in result.stdout
    assert result.stderr == ""


def test_status_shows_small_sizes_in_bytes_and_the_last_error(run, record, path):
    record("a")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM pending WHERE sequence = 1")
        connection.execute("UPDATE pending SET last_error = '503: Busy\x1b'")
        connection.execute("UPDATE totals SET items = 1, bytes = 90")
    stdout = run("outbox", "status", str(path)).stdout
    assert "pending         1 (90 B), the oldest" in stdout
    assert "last error      503: Busy\\x1b\n" in stdout


def test_status_of_a_file_that_has_not_been_used(run, path):
    sqlite3.connect(path).close()
    assert run("outbox", "status", str(path)).exit_code == 2


def test_drain_delivers_everything(api, run, record, path):
    record("a", "b", "c")
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("6 delivered, 0 pending; ")
    assert [each["status"] for each in api.instances.values()] == ["active"] * 3
    assert api.doubled == api.violations == []
    stats = status_of(run, path)
    assert (stats["pending"], stats["delivered"]) == (0, 6)


def test_drain_reports_counts_as_json(api, run, record, path):
    record("a")
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    result = run("outbox", "drain", str(path), "--json")
    counts = json.loads(result.stdout)
    assert counts.pop("seconds") > 0
    assert counts == {"delivered": 2, "dead": 0, "pending": 0, "retried": 1}
    assert result.stderr == ""


def test_drain_prints_attempts_if_asked(run, record, path):
    record("a")
    result = run("outbox", "drain", str(path), "--verbose")
    assert "outbox.deliver (" in result.stderr
    assert " items)  attempt 1  " in result.stderr


def test_drain_shows_a_bar_on_a_terminal(record, exit_code, path, terminal):
    record("a")
    assert exit_code("outbox", "drain", str(path), stderr=terminal, stdout=terminal) == 0
    assert "100%" in terminal.getvalue()
    assert "2 delivered, 0 pending" in terminal.getvalue()


def test_drain_reports_what_the_api_refuses(api, run, record, path):
    record("taken", "taken")
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 1
    assert result.stdout.startswith("2 delivered, 0 pending, 2 not delivered; ")
    assert "Error: 2 writes were not delivered." in result.stderr
    assert f"run: prefactor-http outbox dead {path}" in result.stderr
    assert len(api.instances) == 1
    assert "dead letters    2\n" in run("outbox", "status", str(path)).stdout
    assert "run: prefactor-http outbox dead" in run("outbox", "status", str(path)).stderr


def test_drain_counts_a_single_refusal(api, run, record, path):
    record("a")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM pending WHERE type = 'agent_instances/register'")
        connection.execute("UPDATE totals SET items = 1")
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 1
    assert "Error: 1 write was not delivered." in result.stderr


def test_drain_stops_at_once_if_the_token_is_not_accepted(run, record, path, monkeypatch):
    record("a")
    monkeypatch.setenv("PREFACTOR_API_TOKEN", "wrong-token")
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 1
    assert "0 delivered, 2 pending" in result.stdout
    assert "Error: the API refused it: 401 " in result.stderr
    assert result.stderr.rstrip().endswith("allowed to make this call.")


def test_drain_stops_if_the_api_refuses_one_write_after_the_other(run, record, path):
    record(*["taken"] * 30)
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 1
    assert "delivery has stopped, because the API refuses every write: 422 " in result.stderr
    assert "The writes are still in the outbox: run the command again." in result.stderr
    assert status_of(run, path)["pending"] > 10


def test_drain_waits_for_an_api_that_is_down_for_a_limited_time(api, run, record, path):
    record("a")
    api.fail_next(*[FaultKind.RESET_BEFORE_READING] * 1000)
    result = run("outbox", "drain", str(path), "--max-outage", "2.1")
    assert result.exit_code == 3
    assert "Error: the API has been down for 2." in result.stderr
    assert "The last attempt: connection " in result.stderr
    assert "Prefactor" not in result.stderr
    assert status_of(run, path)["pending"] == 2


def test_drain_ends_at_its_deadline(api, run, record, path):
    record("a")
    api.fail_next(*[FaultKind.RESET_BEFORE_READING] * 1000)
    result = run("outbox", "drain", str(path), "--deadline", "0.3")
    assert result.exit_code == 3
    assert "not everything was delivered within " in result.stderr
    assert "(--deadline)" in result.stderr


def test_drain_that_is_interrupted_leaves_the_writes(api, run, record, path):
    record("a")
    api.fail_next(*[FaultKind.RESET_BEFORE_READING] * 1000)

    def interrupt():
        while not api.faults_injected:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run("outbox", "drain", str(path))
    thread.join()
    assert result.exit_code == 130
    assert result.stdout.startswith("0 delivered, 2 pending")
    assert "Error: interrupted by Ctrl-C." in result.stderr
    assert "The writes are still in the outbox: run the command again." in result.stderr
    assert status_of(run, path)["pending"] == 2


def test_drain_that_waits_for_another_process_can_be_interrupted(run, record, path):
    record("a")

    def interrupt():
        while not any(each.name == f"outbox {path.name}" for each in threading.enumerate()):
            time.sleep(0.005)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    elsewhere = ForwarderLock(path)
    assert elsewhere.acquire()
    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run("outbox", "drain", str(path))
    thread.join()
    elsewhere.release()
    assert result.exit_code == 130
    assert status_of(run, path)["pending"] == 2


def test_the_help_lists_the_commands_in_the_order_of_their_use(run):
    listed = run("outbox", "--help").stdout.partition("Commands:\n")[2].split("\n")
    names = [line.split()[0] for line in listed if line.strip()]
    assert names == ["status", "drain", "dead", "retry", "drop"]


def test_drain_refuses_the_outbox_of_another_api(api, run, record, path):
    record("a")
    result = run("outbox", "drain", str(path), "--api-url", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert f"the outbox belongs to {api.url}, not to http://127.0.0.1:1." in result.stderr
    assert f"Set PREFACTOR_API_URL or --api-url to {api.url}" in result.stderr


def test_drain_leaves_encoded_writes_to_the_program(api, run, record, path):
    record("a", encode=lambda body: body[::-1], decode=lambda body: body[::-1])
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 2
    assert "the writes in the outbox are encoded" in result.stderr
    assert api.requests == [] or all(request.path != "/api/v1/bulk" for request in api.requests)
    assert status_of(run, path)["pending"] == 2


def test_dead_shows_each_dead_letter_with_its_reason(run, dead_letters, path):
    result = run("outbox", "dead", str(path))
    assert result.exit_code == 0
    titles, refused, blocked = result.stdout.splitlines()
    assert titles.split("  ")[0] == "number"
    assert refused.split()[:3] == ["3", "refused", "agent_instances/register"]
    assert refused.endswith("external_identifier has already been taken")
    assert blocked.split()[:3] == ["4", "blocked", "agent_instances/start"]
    assert "agent_instances/register is dead letter 3" in blocked
    assert f"run: prefactor-http outbox retry {path} NUMBER..." in result.stderr


def test_dead_prints_json_lines(run, dead_letters, path):
    lines = [
        json.loads(line) for line in run("outbox", "dead", str(path), "--json").stdout.splitlines()
    ]
    assert [line["sequence"] for line in lines] == [3, 4]
    assert [line["blocked_by"] for line in lines] == [None, 3]
    assert all(line["idempotency_key"] and "exception" not in line for line in lines)


def test_dead_lists_page_after_page(run, dead_letters, path):
    first = run("outbox", "dead", str(path), "--limit", "1")
    assert "1 of 2 dead letters. For the next ones, add --after 3." in first.stderr
    second = run("outbox", "dead", str(path), "--after", "3")
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["number", "4"]
    assert (
        "There are no more dead letters." in run("outbox", "dead", str(path), "--after", "4").stderr
    )


def test_dead_says_that_there_is_nothing(run, record, path):
    record()
    result = run("outbox", "dead", str(path))
    assert (result.stdout, result.stderr) == ("", "There are no dead letters.\n")


def test_retry_includes_what_is_blocked(api, run, dead_letters, path):
    api.instances.clear()
    result = run("outbox", "retry", str(path), "3")
    assert result.stdout == "2 writes are pending again.\n"
    stats = status_of(run, path)
    assert (stats["pending"], stats["dead"]) == (2, 0)


def test_retry_of_one_write_that_is_not_blocking(run, dead_letters, path):
    assert run("outbox", "retry", str(path), "4").stdout == "1 write is pending again.\n"
    assert json.loads(run("outbox", "retry", str(path), "--all", "--json").stdout) == {"retried": 1}


def test_drop_deletes_dead_letters(run, dead_letters, path):
    assert run("outbox", "drop", str(path), "4").stdout == "1 dead letter was deleted.\n"
    assert status_of(run, path)["dead"] == 1
    assert json.loads(run("outbox", "drop", str(path), "--all", "--json").stdout) == {"dropped": 1}
    assert status_of(run, path)["dead"] == 0
    assert run("outbox", "drop", str(path), "--all").stdout == "0 dead letters were deleted.\n"


@pytest.mark.parametrize("command", ["retry", "drop"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which dead letters? Give their numbers, or --all."),
        (["3", "--all"], "which dead letters? Give their numbers, or --all."),
        (["3", "7"], "there is no dead letter 7."),
    ],
)
def test_dead_letters_must_be_named(run, dead_letters, path, command, arguments, message):
    result = run("outbox", command, str(path), *arguments)
    assert result.exit_code == 2
    assert f"Error: {message}" in result.stderr
    assert f"run: prefactor-http outbox dead {path}" in result.stderr
    assert status_of(run, path)["dead"] == 2


@pytest.mark.parametrize("command", ["status", "drain", "dead"])
@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_file_that_is_not_an_outbox_is_left_alone(run, path, command, content):
    path.write_bytes(content)
    result = run("outbox", command, str(path))
    assert result.exit_code == 2
    assert str(path) in result.stderr
    assert "file of an outbox." in result.stderr
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_left_alone(run, path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text)")
    content = path.read_bytes()
    result = run("outbox", "status", str(path))
    assert result.exit_code == 2
    assert f"{path} is a SQLite file, but not an outbox." in result.stderr
    assert path.read_bytes() == content


def test_a_missing_file_is_an_error_and_is_not_created(run, path):
    result = run("outbox", "status", str(path))
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert not path.exists()


def test_a_damaged_table_is_an_error(run, record, path):
    record()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE dead")
    result = run("outbox", "dead", str(path))
    assert result.exit_code == 3
    assert f"cannot read the outbox {path}: no such table: dead." in result.stderr
    assert "Check the disk, then try again." in result.stderr


def test_drain_waits_for_the_process_that_delivers(run, record, path):
    record("a")
    elsewhere = ForwarderLock(path)
    assert elsewhere.acquire()
    try:
        assert status_of(run, path)["is_delivering"]
        assert "delivery        a process delivers\n" in run("outbox", "status", str(path)).stdout
        result = run("outbox", "drain", str(path), "--deadline", "0.5")
    finally:
        elsewhere.release()
    assert "Another process delivers this outbox: waiting for it." in result.stderr
    assert result.exit_code == 3


def test_drain_ends_if_delivered_writes_cannot_be_deleted(run, record, path):
    record("a")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TRIGGER read_only BEFORE UPDATE ON totals "
            "BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    result = run("outbox", "drain", str(path))
    assert result.exit_code == 3
    assert f"Error: cannot write to the outbox {path}: full." in result.stderr
    assert "The writes are still in the outbox: run the command again." in result.stderr
