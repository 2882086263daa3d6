"""Rows that repeat the name of an earlier row."""

import json
import tracemalloc

import pytest
from rows_support import last_words, lines, named, table, write

from prefactor_http.cli.register.duplicates import DuplicateCheck
from prefactor_http.cli.register.row_reader import Row
from prefactor_http.idempotency import new_id

JOBS = [[], ["--job", "j"]]


@pytest.mark.parametrize("job", JOBS)
def test_a_repeated_name_is_reported_counted_and_not_sent(api, run, shared, tmp_path, out, job):
    content = table(
        ["external_identifier", "purpose"],
        ["a", "live"],
        ["b", ""],
        ["a", "live"],
        ["a", "eval"],
        ["b", ""],
    )
    path = write(tmp_path, "rows.csv", content)
    result = run("register", path, *shared, *job, "--out", str(out))
    assert result.exit_code == 1
    assert "2 rows registered, 0 refused, 0 unknown, 3 duplicates; " in result.stdout
    assert "rows.csv, line 4: duplicate of line 2: same external_identifier 'a'\n" in result.stderr
    assert "2 rows (duplicate; lines 4, 6): duplicate of line 2" in result.stderr
    differs = (
        "rows.csv, line 5: duplicate of line 2: same external_identifier 'a', but different content"
    )
    assert differs in result.stderr
    assert (
        "Error: 1 row not registered: same name as an earlier row, but different content."
        in result.stderr
    )
    assert len(api.instances) == 2
    assert sum(len(request.json["items"]) for request in api.requests) == 2
    words = last_words(out)
    assert [words[index].get("duplicate_of") for index in range(5)] == [None, None, 0, 0, 1]
    assert [words[index]["ok"] for index in range(5)] == [True, True, False, False, False]


def test_the_same_content_twice_is_no_failure(api, run, shared, tmp_path):
    row = {"external_identifier": "a", "purpose": "eval"}
    path = write(tmp_path, "rows.jsonl", lines(row, dict(reversed(row.items())), row))
    result = run("register", path, *shared, "--job", "j", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["ok"], report["duplicates"], report["refused"]) == (1, 2, 0)
    (reason,) = report["reasons"]
    assert (reason["kind"], reason["count"], reason["lines"]) == ("duplicate", 2, [2, 3])


@pytest.mark.parametrize(("row", "code"), [({}, 0), ({"purpose": "eval"}, 4)])
def test_a_dry_run_finds_duplicates(api, run, shared, tmp_path, row, code):
    path = write(tmp_path, "rows.jsonl", named(2) + lines({"external_identifier": "n-0"} | row))
    result = run("register", path, *shared, "--dry-run")
    assert result.exit_code == code
    assert "2 rows to register, 0 invalid, 1 duplicate; nothing was sent." in result.stdout
    assert "line 3: duplicate of line 1" in result.stderr
    assert not api.requests


def test_every_name_of_a_row_counts(api, run, shared, tmp_path):
    one, other = new_id(related_to=api.agent_id), new_id(related_to=api.agent_id)
    rows = [
        {"id": one, "external_identifier": "a"},
        {"external_identifier": "a"},
        {"id": one},
        {"id": other, "external_identifier": "a"},
        {"idempotency_key": "key-12345"},
        {"idempotency_key": "key-12345", "external_identifier": "b"},
        {"external_identifier": "b"},
        {},
        {},
    ]
    path = write(tmp_path, "rows.jsonl", lines(*rows))
    result = run("register", path, *shared, "--job", "j")
    assert "5 rows registered, 0 refused, 0 unknown, 4 duplicates; " in result.stdout
    assert (
        "4 rows (duplicate; lines 2, 3, 4, 6): duplicate of line 1: same external" in result.stderr
    )
    assert len(api.instances) == 5


def test_an_invalid_row_does_not_make_a_later_row_a_duplicate(api, run, shared, tmp_path):
    rows = lines({"external_identifier": "a", "purpose": "fun"}, {"external_identifier": "a"})
    result = run("register", write(tmp_path, "rows.jsonl", rows), *shared)
    assert "1 row registered, 1 refused, 0 unknown; " in result.stdout


def test_without_a_job_two_agents_may_use_one_name(api, run, parts, tmp_path):
    rows = [{"external_identifier": "a", "agent_id": agent} for agent in (api.agent_id, "other")]
    path = write(tmp_path, "rows.jsonl", lines(*rows))
    command = ["register", path, *parts, "--environment-id", api.environment_id]
    assert "duplicate" not in run(*command).stdout
    # With a job, both would have the same key.
    assert "1 duplicate" in run(*command, "--job", "j").stdout


def test_the_next_run_counts_duplicates_again_and_writes_them_once(api, run, shared, tmp_path, out):
    command = [*shared, "--job", "j", "--out", str(out)]
    row = lines({"external_identifier": "n-0"})
    path = write(tmp_path, "rows.jsonl", named(2) + row)
    first, written = run("register", path, *command), out.read_bytes()
    again = run("register", path, *command)
    assert first.exit_code == again.exit_code == 0
    assert "2 rows registered (2 before), 0 refused, 0 unknown, 1 duplicate; " in again.stdout
    assert out.read_bytes() == written
    # The row gets a name of its own.
    write(tmp_path, "rows.jsonl", named(3))
    third = run("register", path, *command)
    assert "3 rows registered (2 before), 0 refused, 0 unknown; " in third.stdout
    assert last_words(out)[2]["ok"] is True
    # And loses it again.
    write(tmp_path, "rows.jsonl", named(2) + row)
    last = run("register", path, *command)
    assert "2 rows registered (2 before), 0 refused, 0 unknown, 1 duplicate; " in last.stdout


def test_a_long_name_is_shortened(run, shared, tmp_path):
    path = write(tmp_path, "rows.jsonl", lines(*[{"external_identifier": "x" * 5000}] * 2))
    result = run("register", path, *shared, "--dry-run")
    assert f"same external_identifier '{'x' * 80}…'\n" in result.stderr


@pytest.mark.parametrize("names", [1, 3])
def test_a_row_takes_less_than_100_bytes(names):
    count = 16_000  # fills the tables evenly
    duplicates = DuplicateCheck(None, has_job=True)
    row = Row(0, 1, {}, has_own_key=names == 3)
    tracemalloc.start()
    for number in range(count):
        row.index, row.line = number, number + 1
        row.fields = {"external_identifier": f"n-{number}", "idempotency_key": f"key-{number}"}
        if names == 3:
            row.fields["id"] = f"id-{number}"
        assert duplicates.find(row, b"") is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / count < 100
    for number in range(0, count, 500):
        row.fields = {"external_identifier": f"n-{number}", "idempotency_key": "new"}
        found = duplicates.find(row, b"")
        assert (found.index, found.line) == (number, number + 1)
