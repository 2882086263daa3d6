"""Keys that the API does not know: misspelled ones are refused, others are sent with a warning."""

import json

import pytest
from rows_support import SCHEMA, VERSION, lines, named, write

SPAN_TYPE = {"name": "llm_call", "params_schema": {"type": "object"}}


def with_span_type(**fields):
    return SCHEMA | {"span_type_schemas": [SPAN_TYPE, SPAN_TYPE | fields]}


MISSPELLED = [
    ({"external_id": "v1"}, SCHEMA,
     "agent_version contains unknown field `external_id`; did you mean `external_identifier`?"),
    ({"external_id": "v1"}, SCHEMA, "Allowed are external_identifier, name, description, "),
    (VERSION | {"desc": "x"}, SCHEMA, "did you mean `description`?"),
    (VERSION | {"Name": "x"}, SCHEMA, "did you mean `name`?"),
    (VERSION | {"runtime_environment": {"runtimes": "x"}}, SCHEMA,
     "agent_version.runtime_environment contains unknown field `runtimes`"),
    (VERSION, SCHEMA | {"span_types": []}, "did you mean `span_type_schemas`?"),
    (VERSION, with_span_type(result_shema={}),
     "agent_schema_version.span_type_schemas[1] contains unknown field `result_shema`"),
    (VERSION, SCHEMA | {"span_type_schemas": [{"name": "x", "param_schema": {}}]},
     "did you mean `params_schema`?"),
    (VERSION, SCHEMA | {"quality_schemas": [{"name": "x", "schema": {}, "tittle": "x"}]},
     "agent_schema_version.quality_schemas[0] contains unknown field `tittle`"),
    (VERSION, with_span_type(data_risk={"action_profil": {}}), "did you mean `action_profile`?"),
]  # fmt: skip


@pytest.fixture
def command(api, tmp_path):
    """Give the command for rows with a version and a schema of their own, in one of four places."""

    def command(place, version, schema):
        parts = {"agent_version": version, "agent_schema_version": schema}
        ids = ["--agent-id", api.agent_id, "--environment-id", api.environment_id]
        if place == "options":
            path = write(tmp_path, "rows.jsonl", named(2))
            options = [
                "--agent-version",
                write(tmp_path, "version.json", json.dumps(version).encode()),
                "--schema",
                write(tmp_path, "schema.json", json.dumps(schema).encode()),
            ]
            return ["register", path, *ids, *options]
        if place == "file":
            return ["register", write(tmp_path, "one.json", json.dumps(parts).encode()), *ids]
        rows = lines(*[{"external_identifier": f"n-{n}"} | parts for n in range(2)])
        path = write(tmp_path, "rows.jsonl", rows)
        return ["register", path, *ids, *(["--dry-run"] if place == "dry run" else [])]

    return command


@pytest.mark.parametrize("place", ["options", "file", "rows", "dry run"])
@pytest.mark.parametrize(("version", "schema", "said"), MISSPELLED)
def test_a_misspelled_key_is_refused(api, run, command, place, version, schema, said):
    result = run(*command(place, version, schema))
    assert result.exit_code == {"rows": 1, "dry run": 4}.get(place, 2)
    assert said in result.stderr
    assert "Use --allow-unknown to send it" in result.stderr
    assert not api.requests


@pytest.mark.parametrize("place", ["options", "file", "rows"])
def test_a_misspelled_key_is_sent_with_allow_unknown(api, run, command, place):
    version, schema = VERSION | {"desc": "x"}, with_span_type(result_shema={}, colour="red")
    result = run(*command(place, version, schema), "--allow-unknown")
    assert result.exit_code == 0, result.output
    assert "unknown field" not in result.stderr
    sent = api.requests[0].json
    sent = sent["items"][0] if "items" in sent else sent
    assert (sent["agent_version"], sent["agent_schema_version"]) == (version, schema)


@pytest.mark.parametrize("place", ["options", "file", "rows"])
def test_another_unknown_key_is_sent_with_a_warning(api, run, command, place):
    schema = with_span_type(new_key=1)
    result = run(*command(place, VERSION, schema))
    assert result.exit_code == 0, result.output
    warning = "agent_schema_version.span_type_schemas[1] contains unknown field `new_key`"
    assert f"{warning}; it is sent unchanged." in result.stderr
    sent = api.requests[0].json
    sent = sent["items"][0] if "items" in sent else sent
    assert sent["agent_schema_version"] == schema


def test_with_json_warnings_are_json(run, command):
    version = VERSION | {"colour": "red"}
    one = run(*command("file", version, SCHEMA), "--json")
    assert json.loads(one.stdout)["status"] == "pending"
    (warning,) = json.loads(one.stderr)["warnings"]
    assert "one.json: agent_version contains unknown field `colour`" in warning
    many = run(*command("rows", version, SCHEMA), "--json")
    (reason,) = json.loads(many.stdout)["reasons"]
    assert (reason["kind"], reason["count"], reason["lines"]) == ("warning", 2, [1, 2])
    wrong = run(*command("options", version, SCHEMA), "--json", "--max-retries", "-1")
    assert json.loads(wrong.stderr)["exit_code"] == 2


@pytest.mark.parametrize("place", ["options", "file", "rows"])
def test_a_part_that_is_not_an_object_is_refused(api, run, command, place):
    result = run(*command(place, ["x"], SCHEMA))
    assert result.exit_code == (1 if place == "rows" else 2)
    assert "got `array`" in result.stderr
    assert not api.requests


def test_json_schemas_are_not_checked(api, run, command):
    schema = {
        "external_identifier": "s",
        "span_schemas": {"x": {"titel": "y", "descripton": "z"}},
        "span_result_schemas": {"nam": {"params_shema": 1}},
        "quality_schemas": [{"name": "q", "schema": {"tittle": "x", "param_schema": {}}}],
    }
    result = run(*command("options", VERSION, schema))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"external_idenifier": "x"}, "did you mean `external_identifier`?"),
        ({"Purpose": "eval"}, "did you mean `purpose`?"),
        ({"colour": "red"}, "contains unknown field `colour`. Allowed are agent_version, "),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_an_unknown_field_of_a_row_is_always_refused(api, run, shared, tmp_path, row, said, dry):
    path = write(tmp_path, "rows.jsonl", lines(row))
    options = ["--allow-unknown", *(["--dry-run"] if dry else [])]
    result = run("register", path, *shared, *options)
    assert result.exit_code == (4 if dry else 1)
    assert said in result.stderr
    assert not api.requests


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (["--agent-version"], "has no agent_version."),
        (["--schema"], "has no agent_schema_version."),
        (["--agent-version", "--schema"], "has no agent_version and no agent_schema_version."),
    ],
)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", b"oops\n" + named(5000)),
        ("rows.csv", b"external_identifier,agent_version,agent_schema_version\n" + b"x,,\n" * 9),
        ("rows.csv", b"external_identifier\n" + b"x\n" * 9),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_a_forgotten_option_is_one_usage_error(
    api, run, parts, tmp_path, left_out, said, name, content, dry
):
    options = dict(zip(parts[::2], parts[1::2], strict=True))
    given = [word for option, file in options.items() if option not in left_out
             for word in (option, file)]  # fmt: skip
    path = write(tmp_path, name, content)
    result = run("register", path, *given, "--job", "j", *(["--dry-run"] if dry else []))
    assert result.exit_code == 2
    assert f"{name} {said}" in result.stderr
    assert f"Add {' and '.join(f'{option} FILE' for option in left_out)}, or put" in result.stderr
    assert len(result.stderr.splitlines()) == 2
    assert not api.requests


def test_rows_with_their_own_parts_need_no_option(api, run, parts, tmp_path):
    own = {"agent_version": VERSION, "agent_schema_version": SCHEMA}
    ids = {"agent_id": api.agent_id, "environment_id": api.environment_id}
    path = write(tmp_path, "rows.jsonl", lines(ids, ids | own, "oops"))
    result = run("register", path)
    assert result.exit_code == 1
    assert "line 1: missing field `agent_version`" in result.stderr
    assert len(api.instances) == 1


@pytest.mark.parametrize(("option", "value"), [("--job", ""), ("--job", " "), ("--out", "")])
def test_a_blank_name_is_wrong_usage(api, run, shared, tmp_path, option, value):
    path = write(tmp_path, "rows.jsonl", named(1))
    result = run("register", path, *shared, option, value)
    assert result.exit_code == 2
    assert f"{option} must not be blank" in result.stderr
    assert not api.requests


@pytest.mark.parametrize("option", ["--max-outage", "--deadline"])
def test_nan_is_not_a_number_of_seconds(api, run, shared, tmp_path, option):
    path = write(tmp_path, "rows.jsonl", named(1))
    result = run("register", path, *shared, option, "nan")
    assert result.exit_code == 2
    assert "'nan' is not a number of seconds" in result.stderr


def test_blank_ids_are_left_out(api, run, parts, tmp_path):
    path = write(tmp_path, "rows.jsonl", named(1))
    run("register", path, *parts, "--agent-id", " ", "--environment-id", "")
    (item,) = api.requests[0].json["items"]
    assert item.keys() & {"agent_id", "environment_id"} == set()


def test_a_part_that_is_unreadable_is_wrong_usage(api, run, shared, tmp_path):
    path = write(tmp_path, "one.json.gz", b"\x1f\x8b\x08truncated")
    for arguments in ([path, *shared], [path, *shared, "--format", "jsonl"]):
        result = run("register", *arguments)
        assert result.exit_code in {2, 3}
        assert "cannot read" in result.stderr or "cannot be read" in result.stderr
    assert not api.requests
