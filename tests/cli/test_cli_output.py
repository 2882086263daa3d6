"""What is printed to standard output and standard error, and what happens if that fails."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_server import answering, failure, spans, success
from rows_support import last_words, lines, named, write

COMMAND = str(Path(sys.executable).with_name("prefactor-http"))
TOKEN = "canary-7f3a9"
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\u202eabc\u2066\u2028\r\nError: forged\t\x00"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@pytest.fixture
def point_to(monkeypatch):
    def point_to(url):
        monkeypatch.setenv("PREFACTOR_API_URL", url)
        monkeypatch.setenv("PREFACTOR_API_TOKEN", TOKEN)

    return point_to


@pytest.fixture
def closed_pipe():
    """Open a pipe whose reader has closed it."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        yield file


def page(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def text_of(file):
    file.flush()
    return file.buffer.getvalue().decode(file.encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "utf-16"])
def test_characters_that_the_encoding_lacks_are_escaped(api, exit_code, registration, encoding):
    name = "票-é-😀"
    fields = json.loads(registration.read_bytes()) | {"external_identifier": name}
    registration.write_text(json.dumps(fields))
    out = page(encoding)
    assert exit_code("register", str(registration), stdout=out) == 0
    shown = text_of(out)
    (instance_id,) = api.instances
    expected = name.encode(encoding, "backslashreplace").decode(encoding)
    assert f"external id     {expected}" in shown
    out = page(encoding)
    assert exit_code("show", instance_id, "--json", stdout=out) == 0
    assert json.loads(text_of(out))["external_identifier"] == name


def test_a_file_name_that_is_not_unicode_can_be_reported(api, run, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path / "rows-") + b"\xff.json")
    Path(path).write_bytes(b"[]")
    assert "rows-\\udcff.json: Expected `object`" in run("register", path).stderr
    assert json.loads(run("register", path, "--json").stderr)["message"].startswith(path)


@pytest.mark.parametrize("arguments", [["ping"], ["show", "i1"], ["start", "i1"]])
@pytest.mark.parametrize("status", [200, 401, 422])
def test_control_characters_of_the_api_are_escaped(run, point_to, arguments, status):
    def answer(path, body):
        if status == 200:
            if path.startswith("/api/v1/agent_spans"):
                return 200, spans(schema_name=HOSTILE, status=HOSTILE)
            reply = success(
                status="active", external_identifier=HOSTILE, termination_reason=HOSTILE
            )
            return 200, reply | {"message": HOSTILE}
        return status, failure(HOSTILE, HOSTILE, **{HOSTILE: [HOSTILE]})

    with answering(answer) as url:
        point_to(url)
        people, machines = run(*arguments), run(*arguments, "--json")
    assert not CONTROLS.search(people.output)
    assert "\nError: forged" not in people.output
    assert not CONTROLS.search(machines.output)
    assert len(machines.output.splitlines()) == 1
    report = json.loads(machines.output)
    if status != 200:
        assert report["errors"] == {HOSTILE: [HOSTILE]}
        assert r"\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\u202eabc\u2066 Error" in people.stderr
    elif arguments != ["ping"]:
        assert report["external_identifier"] == HOSTILE


def test_control_characters_of_rows_are_escaped(run, point_to, parts, tmp_path, out):
    def answer(path, body):
        error = failure("forbidden", HOSTILE, **{HOSTILE: [HOSTILE]})
        return 200, {
            "status": "success",
            "outputs": {body["items"][0]["idempotency_key"]: error},
        }

    rows = lines({"external_identifier": HOSTILE}, {"purpose": HOSTILE}, {HOSTILE: 1})
    path = write(tmp_path, "rows-\x1b[31m.jsonl", rows)
    command = ["register", path, *parts, "--out", str(out)]
    with answering(answer) as url:
        point_to(url)
        result = run(*command)
        machines = run(*command[:-1], f"{out}2", "--json")
    assert result.exit_code == machines.exit_code == 1
    assert not CONTROLS.search(result.output)
    assert not CONTROLS.search(machines.output)
    assert not CONTROLS.search(out.read_text())
    # Decoding the JSON gives the original text.
    assert HOSTILE[:20] in last_words(out)[0]["error"]
    assert HOSTILE[:20] in json.loads(machines.stdout)["reasons"][-1]["reason"]


def test_the_token_is_redacted_in_outputs_and_results(run, point_to, parts, tmp_path, out):
    said = f"token {TOKEN} may not"

    def answer(path, body):
        if path.startswith("/api/v1/agent_spans"):
            return 200, spans(schema_name=said, status=TOKEN, agent_instance_id=TOKEN)
        if not path.endswith("/bulk"):
            return (200, success(external_identifier=said, id=TOKEN))
        key = body["items"][0]["idempotency_key"]
        return 200, {
            "status": "success",
            "outputs": {key: failure("forbidden", said, **{said: [said]})},
        }

    path = write(tmp_path, "rows.jsonl", named(1))
    with answering(answer) as url:
        point_to(url)
        command = ["register", path, *parts, "--job", "j"]
        results = [
            run("show", TOKEN),
            run("show", TOKEN, "--json"),
            run(*command, "--out", str(out)),
            run(*command, "--json"),
        ]
    assert [result.exit_code for result in results] == [0, 0, 1, 1]
    for result in results:
        assert TOKEN not in result.output
        assert "[token]" in result.output
    assert TOKEN not in out.read_text()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_result_that_cannot_be_written_goes_to_standard_error(
    api, exit_code, registration, full, capsys, as_json
):
    options = ["--json"] if as_json else []
    assert exit_code("register", str(registration), *options, stdout=full) == 5
    (instance_id,) = api.instances
    said = capsys.readouterr().err
    assert "standard output could not be written: No space left on device." in said
    if as_json:
        report = json.loads(said)
        assert (report["exit_code"], report["output"]["id"]) == (5, instance_id)
    else:
        assert said.startswith("Error: standard output")
        assert f"agent instance  {instance_id}" in said


@pytest.mark.parametrize("options", [[], ["--job", "j"]])
def test_rows_are_registered_if_standard_output_cannot_be_written(
    api, exit_code, shared, tmp_path, full, capsys, options
):
    path = write(tmp_path, "rows.jsonl", named(3))
    assert exit_code("register", path, *shared, *options, stdout=full) == 5
    said = capsys.readouterr().err
    assert "3 rows registered, 0 refused, 0 unknown" in said
    assert "may be registered" not in said
    assert len(api.instances) == 3


@pytest.mark.parametrize("as_json", [False, True])
def test_a_closed_pipe_is_not_a_failure(api, exit_code, instance_id, closed_pipe, capsys, as_json):
    options = ["--json"] if as_json else []
    assert exit_code("show", instance_id, *options, stdout=closed_pipe) == 0
    said = capsys.readouterr().err
    assert "standard output is closed." in said
    assert "Error" not in said
    assert instance_id in said


def test_an_api_error_takes_precedence_over_a_write_error(api, exit_code, full, capsys):
    assert exit_code("show", "0" * 32, stdout=full) == 1
    assert "not_found" in capsys.readouterr().err


def test_without_standard_streams_the_work_is_done(api, exit_code, registration, capsys):
    assert exit_code("register", str(registration), stdout=None) == 0
    assert "standard output is closed." in capsys.readouterr().err
    assert exit_code("show", "0" * 32, stderr=None) == 1
    assert "Messages were lost: standard error is closed." in capsys.readouterr().out
    assert len(api.instances) == 1


def test_a_stream_that_python_has_closed_counts_as_closed(api, exit_code, instance_id, capsys):
    class Closing(io.StringIO):
        def write(self, text):
            self.close()
            return super().write(text)

    assert exit_code("show", instance_id, stdout=Closing()) == 0
    assert "standard output is closed." in capsys.readouterr().err


def bad_rows(tmp_path):
    rows = ({"external_identifier": f"n-{n}"} if n % 50 else {"id": f"bad-{n}"} for n in range(500))
    return write(tmp_path, "rows.jsonl", lines(*rows))


def test_a_job_continues_if_its_messages_cannot_be_written(
    api, exit_code, shared, tmp_path, full, capsys
):
    assert exit_code("register", bad_rows(tmp_path), *shared, "--job", "j", stderr=full) == 1
    said = capsys.readouterr().out
    assert "490 rows registered, 10 refused" in said
    assert "Messages were lost: standard error could not be written: No space left" in said
    assert len(api.instances) == 490


def test_a_job_continues_if_standard_error_is_closed(
    api, exit_code, shared, tmp_path, closed_pipe, capsys
):
    path = bad_rows(tmp_path)
    assert exit_code("register", path, *shared, "--job", "j", stderr=closed_pipe) == 1
    assert "490 rows registered, 10 refused" in capsys.readouterr().out


def test_lost_warnings_give_exit_code_5(api, exit_code, shared, tmp_path, full, capsys):
    rows = lines({"agent_version": {"external_identifier": "v", "colour": "red"}})
    path = write(tmp_path, "rows.jsonl", rows)
    assert exit_code("register", path, *shared, "--job", "j", stderr=full) == 5
    assert "1 row registered" in capsys.readouterr().out
    assert exit_code("register", path, *shared, "--job", "j", "--json", stderr=full) == 0
    json.loads(capsys.readouterr().out)


def test_help_into_a_closed_pipe_is_not_a_failure(exit_code, closed_pipe, capsys):
    assert exit_code("--help", stdout=closed_pipe) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["register", "--help"], ["--version"], ["demo"]])
def test_other_text_that_cannot_be_written_is_reported(exit_code, full, capsys, arguments):
    assert exit_code(*arguments, stdout=full) == 5
    said = capsys.readouterr().err
    assert said == "Error: standard output could not be written: No space left on device.\n"


def test_nothing_fails_when_the_interpreter_flushes_at_exit(api, instance_id, full):
    for stdout, code in ((full, 5), (subprocess.DEVNULL, 0)):
        done = subprocess.run(
            [COMMAND, "show", instance_id],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code
        assert "Exception" not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_terminal_that_was_hung_up_counts_as_closed(api, exit_code, instance_id, capsys):
    class HungUp(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

    assert exit_code("show", instance_id, stdout=HungUp()) == 0
    assert "standard output is closed." in capsys.readouterr().err


def test_with_json_wrong_usage_is_json(api, run):
    result = run("ping", "--json", "--deadline", "0")
    assert result.exit_code == 2
    assert json.loads(result.stderr)["exit_code"] == 2
    people = run("ping", "--deadline", "0")
    assert people.stderr.startswith("Usage: ")
    assert "Try 'command ping -h' for help." in people.stderr
