import json
import re

import pytest
from cli_server import answering, success

from prefactor_http.testing import Fault, FaultKind


def test_verbose_prints_each_attempt_to_standard_error(api, run, instance_id):
    api.fail_next(FaultKind.UNAVAILABLE, FaultKind.APPLIED_THEN_RESET)
    result = run("start", instance_id, "--verbose")
    assert result.exit_code == 0
    first, wait, second, again, third = result.stderr.splitlines()
    taken = r"\d+\.\d{3} s"
    start = "agent_instances.start  attempt"
    assert re.fullmatch(rf"{start} 1  {taken}  503 service_unavailable.*", first)
    start_retry = r"agent_instances\.start  retry"
    assert re.fullmatch(rf"{start_retry} 1 of 3 in 0\.[5-9]\d\d s: HTTP 503", wait)
    assert again == "agent_instances.start  retry 2 of 3 in 0.000 s: connection error"
    assert re.fullmatch(rf"{start} 2  {taken}  connection to \S+ lost.*", second)
    assert re.fullmatch(rf"{start} 3  {taken}  200", third)
    assert "status          active" in result.stdout


def test_without_verbose_no_attempt_is_printed(api, run, instance_id):
    api.fail_next(FaultKind.UNAVAILABLE)
    assert run("start", instance_id).stderr == ""


def test_with_json_each_attempt_is_a_line_of_json(api, run, instance_id):
    api.fail_next(FaultKind.UNAVAILABLE)
    result = run("show", instance_id, "--verbose", "--json")
    assert json.loads(result.stdout)["id"] == instance_id
    first, retry, *others = (json.loads(line) for line in result.stderr.splitlines())
    assert retry["retry"]["reason"] == "503"
    attempts = [each["attempt"] for each in (first, *others)]
    assert [(each["operation"], each["number"], each["status"]) for each in attempts] == [
        ("agent_instances.get", 1, 503),
        ("agent_instances.get", 2, 200),
        ("agent_spans.list", 1, 200),
    ]


@pytest.mark.parametrize("format_", [[], ["--json"]])
def test_a_job_prints_its_attempts_too(api, run, shared, tmp_path, format_):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"external_identifier": f"r{n}"}) + "\n" for n in range(3)))
    api.fail_next(FaultKind.UNAVAILABLE)
    result = run("register", str(rows), *shared, "--job", "j", "--verbose", *format_)
    assert result.exit_code == 0, result.output
    assert "503 service_unavailable" in result.stderr
    if not format_:
        assert re.search(
            r"^agent_instances\.register_many \(3 items\)  retry 1 in \d\.\d{3} s: HTTP 503$",
            result.stderr,
            re.MULTILINE,
        )
    assert len(api.instances) == 3


def test_the_token_is_not_printed(api, run):
    with answering(lambda *_: (400, success(echo=api.token))) as url:
        result = run("show", "i1", "--api-url", url, "--verbose")
    assert "attempt 1" in result.stderr
    assert api.token not in result.stderr


def test_on_a_terminal_a_line_says_how_long_it_waits(api, exit_code, instance_id, terminal):
    api.fail_next(Fault(FaultKind.DELAYED, seconds=1.0))
    assert exit_code("show", instance_id, "--verbose", stderr=terminal) == 0
    text = terminal.getvalue()
    assert re.search(r"\r\x1b\[2KWaiting for attempt 1: \d+ ms", text)
    # It is removed before the attempt is printed.
    assert re.search(r"\r\x1b\[2Kagent_instances\.get  attempt 1  1\.\d{3} s  200\n", text)


def test_before_a_retry_the_line_counts_down(api, exit_code, instance_id, terminal):
    api.fail_next(FaultKind.UNAVAILABLE, Fault(FaultKind.DELAYED, seconds=0.5))
    assert exit_code("start", instance_id, "--verbose", stderr=terminal) == 0
    left = [int(each) for each in re.findall(r"Retrying in (\d+) ms", terminal.getvalue())]
    assert left
    assert left == sorted(left, reverse=True)
    after = terminal.getvalue().rpartition("Retrying in ")[2]
    assert "Waiting for attempt 2: " in after


def test_the_line_is_removed_when_the_command_ends(api, exit_code, instance_id, terminal):
    api.fail_next(Fault(FaultKind.DELAYED, seconds=5.0))
    command = ["show", instance_id, "--verbose", "--deadline", "0.7"]
    assert exit_code(*command, stderr=terminal) == 3
    last = terminal.getvalue().rpartition("Waiting for attempt 1: ")[2]
    assert re.match(r"\d+ ms\r\x1b\[2KError: deadline of 0.7 s exceeded", last)


def test_a_dumb_terminal_gets_no_such_line(api, exit_code, instance_id, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    api.fail_next(Fault(FaultKind.DELAYED, seconds=0.5))
    assert exit_code("show", instance_id, "--verbose", stderr=terminal) == 0
    assert "attempt 1" in terminal.getvalue()
    assert "Waiting" not in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()
