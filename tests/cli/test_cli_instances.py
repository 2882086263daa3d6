import json

import pytest

from prefactor_http.cli.register.fields import RegistrationFields
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.testing import FaultKind


def test_a_lifecycle_runs_from_register_to_show(api, run, registration):
    registered = run("register", str(registration))
    assert registered.exit_code == 0, registered.output
    assert "status          pending" in registered.stdout
    assert "external id     nightly-42" in registered.stdout
    (instance_id,) = api.instances
    assert "status          active" in run("start", instance_id).stdout
    finished = run("finish", instance_id, "--status", "failed")
    assert "status          failed" in finished.stdout
    assert "\x1b" not in finished.stdout
    shown = run("show", "--json", instance_id)
    assert json.loads(shown.stdout)["status"] == "failed"
    assert shown.stderr == ""
    assert api.effects[-1].action == "agent_instances.finish"


def test_finish_completes_by_default(run, instance_id):
    run("start", instance_id)
    assert json.loads(run("finish", instance_id, "--json").stdout)["status"] == "complete"


def test_ping_confirms_that_the_token_is_accepted(api, run):
    result = run("ping")
    assert (result.exit_code, result.stdout) == (0, f"{api.url} accepts the token.\n")
    assert json.loads(run("ping", "--json").stdout)["status"] == "success"


def test_register_reads_standard_input_and_sends_unknown_keys(api, run, registration):
    content = registration.read_bytes().replace(b'"name":"llm_call"', b'"name":"x","new_key":1')
    result = run("register", "-", "--json", stdin=content)
    assert result.exit_code == 0
    (request,) = api.requests
    (span_type,) = request.json["agent_schema_version"]["span_type_schemas"]
    assert span_type["new_key"] == 1


@pytest.mark.parametrize("place", ["option", "file"])
def test_register_repeated_with_its_key_registers_once(api, run, registration, place):
    arguments = ["register", str(registration), "--json"]
    if place == "option":
        arguments += ["--idempotency-key", "night-42-register"]
    else:
        fields = json.loads(registration.read_bytes())
        registration.write_text(json.dumps(fields | {"idempotency_key": "night-42-register"}))
    first, second = (json.loads(run(*arguments).stdout)["id"] for _ in range(2))
    assert first == second
    assert [effect.idempotency_key for effect in api.effects] == ["night-42-register"]


def test_a_lost_response_is_retried_silently(api, run, registration):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    assert run("register", str(registration)).exit_code == 0
    assert len(api.instances) == 1


def test_the_file_has_the_fields_of_the_request():
    assert set(RegistrationFields.__struct_fields__) == set(
        RegisterAgentInstanceRequest.__struct_fields__
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{\n  "agent_version": {},\n  oops\n}', "line 3, column 3: Expecting property name"),
        (b'{"agent_version": {}}', "missing field `agent_schema_version`"),
        (b'{"agent_vresion": {}}', "contains unknown field `agent_vresion`"),
        (
            b'{"agent_version": {"name": 7}, "agent_schema_version": {}}',
            "agent_version.name: Expected `str | null`, got `int`",
        ),
        (
            b'{"agent_schema_version": {"span_type_schemas": [{"name": "x"}]}}',
            "agent_schema_version.span_type_schemas[0]: ",
        ),
        (b"[]", "Expected `object`, got `array`"),
        (b"\xff", "not JSON"),
        (b'{"agent_version": NaN}', "NaN is not a JSON number"),
    ],
)
def test_an_invalid_file_is_wrong_usage_and_named(api, run, tmp_path, content, said):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    result = run("register", str(path))
    assert result.exit_code == 2
    assert str(path) in result.stderr
    assert said in result.stderr
    assert "nothing was sent" in result.stderr
    assert not api.requests
    from_stdin = run("register", "-", stdin=content)
    assert "standard input" in from_stdin.stderr


def test_a_missing_file_is_wrong_usage(api, run):
    result = run("register", "nowhere.json")
    assert result.exit_code == 2
    assert "nowhere.json" in result.stderr


def test_a_key_with_spaces_is_wrong_usage(api, run, registration):
    result = run("register", str(registration), "--idempotency-key", "two words")
    assert result.exit_code == 2
    assert "without spaces" in result.stderr
    assert not api.requests
