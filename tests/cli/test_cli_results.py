import errno
import fcntl
import json
import sys

import pytest


@pytest.fixture
def command(api, tmp_path):
    def command(content, *options, job="j"):
        rows = tmp_path / "rows.jsonl"
        version, schema = tmp_path / "version.json", tmp_path / "schema.json"
        version.write_text('{"external_identifier": "v1"}')
        schema.write_text('{"external_identifier": "s1", "span_type_schemas": []}')
        rows.write_bytes(content)
        return [
            *("register", str(rows), "--agent-version", str(version), "--schema", str(schema)),
            *("--agent-id", api.agent_id, "--environment-id", api.environment_id),
            *("--out", str(tmp_path / "results.jsonl")),
            *(("--job", job) if job else ()),
            *options,
        ]

    return command


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results.jsonl"


NAMED = b"".join(b'{"external_identifier": "n-%d"}\n' % number for number in range(3))
UNNAMED = b'{"purpose": "eval"}\n' * 3


def last_words(path):
    return {line["index"]: line for line in map(json.loads, path.read_text().splitlines())}


@pytest.mark.parametrize("left", [1, 5, 9, 20, 60])
def test_an_incomplete_last_line_is_repaired(api, run, command, out, left):
    run(*command(NAMED))
    *whole, last = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(whole) + last[:left])
    result = run(*command(NAMED))
    assert result.exit_code == 0
    assert "3 rows registered (2 before)" in result.stdout
    assert len(last_words(out)) == len(out.read_text().splitlines()) == 3
    assert len(api.effects) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"my notes",
        b'{"name": "x"}\n',
        b"\xff\n",
        b'{"index":-1,"idempotency_key":null,"ok":true}\n',
        b'{"index":999999999999,"idempotency_key":null,"ok":true}\n',
    ],
)
def test_a_file_that_is_not_a_results_file_is_not_changed(api, run, command, out, content):
    out.write_bytes(content)
    result = run(*command(NAMED))
    assert result.exit_code == 2
    assert "results.jsonl, line 1: not a result of this command." in result.stderr
    assert out.read_bytes() == content
    assert not api.requests


def test_the_results_of_another_job_are_rejected(api, run, command, out):
    run(*command(UNNAMED))
    before = out.read_bytes()
    for arguments in (command(UNNAMED, job="k"), command(b'{"purpose": "live"}\n' + UNNAMED)):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "the result with index 0 belongs to a different row" in result.stderr
    assert out.read_bytes() == before
    assert len(api.instances) == 3


def test_without_a_job_existing_results_are_rejected(run, command, out):
    assert run(*command(NAMED, job=None)).exit_code == 0
    result = run(*command(NAMED, job=None))
    assert result.exit_code == 2
    assert "has the results of an earlier run" in result.stderr
    assert "--job" in result.stderr


def test_refused_rows_are_not_sent_again_until_they_are_corrected(api, run, command, out):
    bad = b'{"external_identifier": "n-0"}\noops\n{"id": "no-id"}\n'
    first = run(*command(bad))
    assert (first.exit_code, len(api.instances)) == (1, 1)
    assert "in earlier runs" not in first.stderr
    requests = len(api.requests)
    again = run(*command(bad))
    assert again.exit_code == 1
    assert "1 row registered (1 before), 2 refused" in again.stdout
    assert (
        "Refused in earlier runs and not sent again: 2. Correct these rows, or remove "
        in again.stderr
    )
    assert len(api.requests) == requests
    corrected = run(*command(NAMED))
    assert corrected.exit_code == 0, corrected.output
    assert "3 rows registered (1 before), 0 refused" in corrected.stdout
    assert [word["ok"] for word in last_words(out).values()] == [True, True, True]


def test_the_last_line_of_a_row_counts(run, command, out):
    run(*command(NAMED))
    first, *rest = out.read_bytes().splitlines(keepends=True)
    unknown = json.dumps(json.loads(first) | {"ok": None}).encode() + b"\n"
    out.write_bytes(b"".join((first, *rest, unknown)))
    result = run(*command(NAMED))
    assert "3 rows registered (2 before)" in result.stdout


def test_results_that_cannot_be_read_or_written_are_wrong_usage(run, command, tmp_path):
    for place in ("results.jsonl/x", "nowhere/x"):
        (tmp_path / "results.jsonl").touch()
        result = run(*command(NAMED, "--out", str(tmp_path / place)))
        assert result.exit_code == 2
        assert place in result.stderr


def test_two_runs_cannot_write_to_one_file(api, run, command, out):
    run(*command(NAMED))
    before = out.read_bytes()
    more = NAMED + b'{"external_identifier": "n-3"}\n'
    with out.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = run(*command(more))
        assert result.exit_code == 2
        assert "results.jsonl is in use by another run." in result.stderr
        assert run(*command(more, "--dry-run")).exit_code == 0
    assert out.read_bytes() == before
    assert run(*command(more)).exit_code == 0
    assert len(api.instances) == 4


@pytest.mark.parametrize("has_locks", [True, False])
def test_without_file_locks_the_command_still_works(run, command, monkeypatch, has_locks):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    if has_locks:  # but not on this file system
        monkeypatch.setattr(fcntl, "flock", refuse)
    else:  # as on Windows
        monkeypatch.setitem(sys.modules, "fcntl", None)
    assert run(*command(NAMED)).exit_code == 0
