import asyncio
import gzip
import json

import pytest
from rows_support import SCHEMA, VERSION, last_words, lines, named, table, write

from prefactor_http import HttpClientConfig, PrefactorHttpClient


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.NDJSON", "rows.jsonl.gz"])
def test_each_json_line_registers_an_instance(api, run, shared, tmp_path, out, name):
    content = b"\xef\xbb\xbf" + named(250) + b"\n  \n" + named(251).splitlines()[-1]
    path = write(tmp_path, name, gzip.compress(content) if name.endswith("gz") else content)
    result = run("register", path, *shared, "--job", "j", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "251 rows registered, 0 refused, 0 unknown" in result.stdout
    assert "\x1b" not in result.output
    words = last_words(out)
    assert sorted(words) == list(range(251))
    assert {line["id"] for line in words.values()} == set(api.instances)
    assert all(line["ok"] is True for line in words.values())
    assert api.instances[words[250]["id"]]["external_identifier"] == "n-250"


def test_csv_columns_of_objects_hold_json(api, run, tmp_path):
    ids = [api.agent_id, api.environment_id]
    versions = [json.dumps(VERSION), json.dumps(SCHEMA)]
    path = write(
        tmp_path,
        "rows.csv",
        table(
            ["agent_id", "environment_id", "agent_version", "agent_schema_version", "purpose"],
            [*ids, *versions, "eval"],
            [],
            [*ids, *versions, ""],
        ),
    )
    result = run("register", path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ok"] == 2
    assert sorted(one["purpose"] for one in api.instances.values()) == ["eval", "live"]


def test_bad_rows_are_reported_and_the_others_registered(api, run, shared, tmp_path, out):
    bad = [
        (b"oops", "not JSON"),
        (b"[]", "a row must be a JSON object"),
        (b'{"purpose": "fun"}', "purpose: Invalid enum value"),
        (b'{"purpos": "eval"}', "unknown field `purpos`"),
        (b'{"idempotency_key": "short"}', "8 to 64 characters"),
        (b'{"external_identifier": "\xff"}', "not JSON"),
        (b'{"external_identifier": "n-0"}', "duplicate of line 1"),
    ]
    content = named(1) + b"\n".join(row for row, _ in bad) + b"\n" + named(2).splitlines()[1]
    path = write(tmp_path, "rows.jsonl", content)
    result = run("register", path, *shared, "--out", str(out), "--concurrency", "1")
    assert result.exit_code == 1
    words = last_words(out)
    for number, (_, problem) in enumerate(bad, 1):
        if number < len(bad):
            assert f"rows.jsonl, line {number + 1}: " in result.stderr
        assert problem in words[number]["error"]
        assert words[number]["line"] == number + 1
        assert words[number]["ok"] is False
    assert len(api.instances) == 2
    assert "Error: 6 rows refused." in result.stderr
    assert "2 rows registered, 6 refused, 0 unknown, 1 duplicate; " in result.stdout


def test_bad_csv_records_are_reported_and_the_others_registered(api, run, shared, tmp_path, out):
    content = (
        b"external_identifier,purpose,update_current_version\n"
        b"a,live,true\n"
        b"b,live\n"
        b"\xff,live,\n"
        b"c,live,yes\n"
        b'd,"' + b"x" * 140_000 + b'",\n'
        b"e,live,false\n"
    )
    path = write(tmp_path, "rows.csv", content)
    result = run("register", path, *shared, "--out", str(out))
    assert result.exit_code == 1, result.output
    words = last_words(out)
    assert [words[index]["ok"] for index in sorted(words)] == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    assert "has 2 cells, but the header has 3" in words[1]["error"]
    assert words[2]["error"] == "external_identifier: not UTF-8"
    assert words[3]["error"] == "update_current_version: must be true or false"
    assert "purpose: Invalid enum value" in words[4]["error"]


def test_only_the_first_20_reasons_are_printed(run, shared, tmp_path, out):
    path = write(tmp_path, "rows.jsonl", lines(*({"purpose": f"fun-{n}"} for n in range(30))))
    result = run("register", path, *shared, "--out", str(out))
    assert result.stderr.count("rows.jsonl, line ") == 20
    assert f"Further reasons are not printed. {out} has the reason of each row." in result.stderr
    assert len(last_words(out)) == 30
    without = run("register", path, *shared)
    assert "Further reasons are not printed.\n" in without.stderr


@pytest.mark.parametrize(
    ("header", "said"),
    [(b"agent,purpose\n", "unknown column 'agent'"), (b"id,id\n", "a column appears twice")],
)
def test_a_wrong_header_is_wrong_usage(api, run, shared, tmp_path, header, said):
    result = run("register", write(tmp_path, "rows.csv", header), *shared)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not api.requests


def test_an_empty_file_succeeds(run, shared, tmp_path):
    for name in ("rows.jsonl", "rows.csv"):
        result = run("register", write(tmp_path, name, b""), *shared)
        assert result.exit_code == 0
        assert "0 rows registered" in result.stdout


def test_standard_input_is_json_lines_with_a_job(api, run, shared):
    result = run("register", "-", *shared, "--job", "j", stdin=named(3))
    assert result.exit_code == 0, result.output
    assert len(api.instances) == 3
    as_one = run("register", "-", *shared, stdin=named(3))
    assert as_one.exit_code == 2
    assert "If each line is a row, add --format jsonl" in as_one.stderr
    as_csv = run("register", "-", *shared, "--format", "csv", stdin=b"external_identifier\nx\n")
    assert as_csv.exit_code == 0
    assert len(api.instances) == 4


def test_options_provide_what_a_single_instance_lacks(api, run, shared, tmp_path):
    path = write(tmp_path, "one.json.gz", gzip.compress(b'{"external_identifier": "one"}'))
    result = run("register", path, *shared)
    assert result.exit_code == 0, result.output
    (instance,) = api.instances.values()
    assert instance["external_identifier"] == "one"


def test_options_for_many_rows_and_for_one_instance_do_not_mix(api, run, shared, tmp_path):
    one, many = write(tmp_path, "a.json", b"{}"), write(tmp_path, "a.jsonl", b"")
    assert "--job is for files with many rows" in run("register", one, "--job", "j").stderr
    result = run("register", many, "--idempotency-key", "key-12345")
    assert result.exit_code == 2
    assert "with many rows, use --job" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"), [(b'{"name": 7}', "name: Expected"), (b"{", "line 1")]
)
def test_a_wrong_version_file_is_wrong_usage(api, run, tmp_path, content, said):
    version = write(tmp_path, "version.json", content)
    result = run("register", "-", "--job", "j", "--agent-version", version, stdin=named(1))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "version.json" in result.stderr
    assert "one JSON object, with at least an external_identifier" in result.stderr


def test_a_dry_run_checks_and_sends_nothing(api, run, shared, parts, tmp_path, out, monkeypatch):
    monkeypatch.delenv("PREFACTOR_API_TOKEN")
    good, bad = write(tmp_path, "a.jsonl", named(3)), write(tmp_path, "b.jsonl", b"{}\noops\n")
    result = run("register", good, *shared, "--dry-run", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "3 rows to register, 0 invalid; nothing was sent." in result.stdout
    result = run("register", bad, *shared, "--dry-run")
    assert result.exit_code == 4
    assert "line 2: not JSON: " in result.stderr
    assert "Error: 1 row cannot be registered." in result.stderr
    assert "1 row to register, 1 invalid; nothing was sent." in result.stdout
    assert not api.requests
    assert not out.exists()


def test_a_dry_run_stops_at_max_failures(run, shared, tmp_path):
    path = write(tmp_path, "rows.jsonl", named(1) + b"oops\n" * 5 + named(3))
    result = run("register", path, *shared, "--dry-run", "--max-failures", "2")
    assert result.exit_code == 4
    assert "1 row to register, 2 invalid; nothing was sent." in result.stdout
    assert "stopped after 2 failures" in result.stderr


def test_ids_default_to_the_environment_variables(api, run, parts, tmp_path, monkeypatch):
    path = write(tmp_path, "rows.jsonl", named(2) + lines({"agent_id": "another"}))
    monkeypatch.setenv("PREFACTOR_AGENT_ID", api.agent_id)
    monkeypatch.setenv("PREFACTOR_ENVIRONMENT_ID", api.environment_id)
    result = run("register", path, *parts, "--job", "j")
    assert (result.exit_code, len(api.instances)) == (1, 2)
    assert "line 3: " in result.stderr


def test_keys_are_the_same_as_those_of_register_many(api, run, shared, tmp_path, out):
    rows = [{"external_identifier": "x"}, {"purpose": "eval"}, {"purpose": None}]
    path = write(tmp_path, "rows.jsonl", lines(*rows))
    assert run("register", path, *shared, "--job", "j", "--out", str(out)).exit_code == 0

    async def keys():
        async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
            outcomes = client.agent_instances.register_many(
                rows[:2],
                job="j",
                agent_id=api.agent_id,
                environment_id=api.environment_id,
                agent_version=VERSION,
                agent_schema_version=SCHEMA,
            )
            return {outcome.index: outcome.idempotency_key async for outcome in outcomes}

    words = last_words(out)
    assert asyncio.run(keys()) == {index: words[index]["idempotency_key"] for index in (0, 1)}
    assert len(api.instances) == 3
