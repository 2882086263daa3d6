"""CSV as spreadsheets and scripts write it, whole or broken."""

import gzip
import json
import random

import pytest
from rows_support import SCHEMA, VERSION, last_words, table, write

HEAD = b"external_identifier,purpose,update_current_version\n"


def names(api):
    return [instance["external_identifier"] for instance in api.instances.values()]


def test_a_large_cell_is_sent_unchanged(api, run, shared, tmp_path):
    schema = {"external_identifier": "s", "span_schemas": {"x": {"description": "x" * 300_000}}}
    versions = [json.dumps(VERSION | {"name": "n\nghost-1,\n" * 20_000}, indent=1)]
    content = table(
        ["external_identifier", "agent_version", "agent_schema_version"],
        ["first", "", ""],
        ["second", *versions, json.dumps(schema)],
        ["third", "", ""],
    )
    result = run("register", write(tmp_path, "rows.csv", content), *shared, "--job", "j")
    assert result.exit_code == 0, result.output
    assert sorted(names(api)) == ["first", "second", "third"]


def test_lines_of_a_cell_with_invalid_json_are_not_rows(api, run, shared, tmp_path):
    content = b'external_identifier,agent_version\na,\nb,"{\nghost-1,\nghost-2,\n}"\nc,\n'
    result = run("register", write(tmp_path, "rows.csv", content), *shared, "--job", "j")
    assert result.exit_code == 1
    assert "rows.csv, line 3: agent_version: not JSON" in result.stderr
    assert sorted(names(api)) == ["a", "c"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b'b,"live,\nghost,live,\n', "a quote is never closed, or not doubled within a cell"),
        (b'b,"live,\nghost,"live",\nghost,live,\n', "a quote is never closed"),
        (b'"b,live,\nghost,live,\n"\nghost,live,\n', "external_identifier has a line break"),
        (b'b,"li\rve",\nghost,live,\n', "purpose has a line break"),
        (b'b,"a "live" run",\nghost,live,\n', "not doubled within a cell"),
        (b'b,"' + b"x" * (16 << 20) + b'x",\nghost,live,\n', "a quote is never closed"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_reading_stops_where_the_next_row_is_ambiguous(
    api, run, shared, tmp_path, broken, said, dry
):
    path = write(tmp_path, "rows.csv", HEAD + b"a,live,\n" + broken)
    result = run("register", path, *shared, "--job", "j", *(["--dry-run"] if dry else []))
    assert result.exit_code == (4 if dry else 1)
    assert "rows.csv, line 3: " in result.stderr
    assert said in result.stderr
    assert "the rows from there on were not read" in result.stderr
    assert names(api) == ([] if dry else ["a"])
    assert ("nothing was sent" in result.stderr) is dry


def test_a_broken_cell_never_becomes_a_row(run, shared, tmp_path, api):
    """Leave out one quote of a file whose quoted cells contain what looks like rows."""
    dice = random.Random(11)
    version = json.dumps(VERSION | {"description": "\nghost,\n"}, indent=0)
    rows = [[f"row-{n}", version if n % 3 == 0 else ""] for n in range(12)]
    content = table(["external_identifier", "agent_version"], *rows).decode()
    quotes = [position for position, sign in enumerate(content) if sign == '"']
    for position in dice.sample(quotes, 25):
        broken = content[:position] + content[position + 1 :]
        path = write(tmp_path, "rows.csv", broken.encode())
        run("register", path, *shared, "--job", f"j-{position}")
    assert {name for name in names(api) if not name.startswith("row-")} == set()


def test_records_without_a_value_are_skipped(api, run, shared, tmp_path, out):
    content = HEAD + b"a,live,\r\n,,\r\n\r\n , ,\t\r\nb,,\r\n,,\r\n"
    path = write(tmp_path, "rows.csv", content)
    result = run("register", path, *shared, "--job", "j", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert names(api) == ["a", "b"]
    assert sorted(last_words(out)) == [0, 1]


def test_columns_without_a_name_and_a_value_are_skipped(api, run, shared, tmp_path):
    content = b"external_identifier,purpose,,\na,live,,\nb,eval\nc,live,,x\n"
    result = run("register", write(tmp_path, "rows.csv", content), *shared, "--job", "j")
    assert names(api) == ["a", "b"]
    assert "line 4: has 4 cells, but the header has 2" in result.stderr


@pytest.mark.parametrize(
    ("cell", "value"),
    [("true", True), ("TRUE", True), ("True", True), (" FALSE ", False), ("False", False)],
)
def test_booleans_are_read_in_any_case(api, run, shared, tmp_path, cell, value):
    path = write(tmp_path, "rows.csv", HEAD + f"a,live,{cell}\n".encode())
    assert run("register", path, *shared, "--job", "j").exit_code == 0
    (item,) = api.requests[0].json["items"]
    assert item["update_current_version"] is value


@pytest.mark.parametrize("cell", ["yes", "1", "null", '"true"'])
def test_an_invalid_boolean_is_refused_with_the_allowed_values(run, shared, tmp_path, cell):
    path = write(tmp_path, "rows.csv", table(["update_current_version"], [cell]))
    result = run("register", path, *shared, "--dry-run")
    assert "update_current_version: must be true or false" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"external_identifier;purpose\na;live\n", "separated by semicolons (';')"),
        (b"external_identifier\tpurpose\na\tlive\n", "separated by tabs"),
        ("external_identifier,purpose\na,live\n".encode("utf-16"), "is not UTF-8"),
        (b'"external_identifier,purpose\na,live\n', "a quote is never closed"),
        (b"extrenal_identifier\na\n", "did you mean `external_identifier`?"),
        (b"version\na\n", "did you mean `agent_version`?"),
        (b"colour\na\n", "unknown column 'colour'. Allowed are agent_version, "),
        (gzip.compress(HEAD * 100, mtime=0)[:20], "cannot be read: Compressed file ended"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_an_invalid_header_is_wrong_usage(api, run, shared, tmp_path, content, said, dry):
    path = write(tmp_path, "rows.csv", content)
    result = run("register", path, *shared, *(["--dry-run"] if dry else []))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "othing was sent" in result.stderr
    assert not api.requests


def test_blank_names_are_left_out(api, run, shared, tmp_path):
    rows = [{"external_identifier": " ", "id": "", "agent_id": ""}, {"purpose": " "}]
    path = write(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert run("register", path, *shared, "--job", "j").exit_code == 0
    for item in api.requests[0].json["items"]:
        assert item.keys() & {"external_identifier", "id", "purpose"} == set()
        assert item["agent_id"] == api.agent_id


def test_other_control_characters_are_sent_unchanged(api, run, shared, tmp_path):
    path = write(tmp_path, "rows.csv", HEAD + "a\tb\xa0c,,\n".encode())
    assert run("register", path, *shared).exit_code == 0
    assert names(api) == ["a\tb\xa0c"]


def test_a_schema_may_span_lines(api, run, shared, tmp_path):
    content = table(["agent_schema_version"], [json.dumps(SCHEMA, indent=2)])
    assert run("register", write(tmp_path, "rows.csv", content), *shared).exit_code == 0
