import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from unused_port import unused_port

from prefactor_http.testing import ErrorBody, Fault, FaultKind

QUICK = ("--max-retries", "0")


@pytest.fixture
def dead_url():
    """Find an address where nobody listens."""
    return f"http://127.0.0.1:{unused_port()}"


def test_a_refused_call_ends_with_1_and_reports_that_nothing_changed(run, instance_id):
    result = run("finish", instance_id)
    assert result.exit_code == 1
    assert result.stdout == ""
    happened, meaning, advice = result.stderr.splitlines()
    assert happened.startswith("Error: the API refused it: 409 invalid_action: ")
    assert meaning == "Nothing was changed."
    assert "prefactor-http show ID" in advice


def test_fields_that_the_api_refuses_are_named(run, registration):
    run("register", str(registration))
    result = run("register", str(registration))
    assert result.exit_code == 1
    assert "422 validation_errors: external_identifier has already been taken" in result.stderr


def test_an_unknown_id_ends_with_1(api, run):
    result = run("show", "0" * 32)
    assert result.exit_code == 1
    assert "Check the id" in result.stderr
    assert "Nothing was changed" not in result.stderr


def test_a_bad_token_ends_with_1_and_is_not_shown(api, run, monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_TOKEN", "secret-of-mine")
    for arguments in (["ping"], ["ping", "--json"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "PREFACTOR_API_TOKEN" in result.stderr
        assert "secret-of-mine" not in result.output


def test_a_lost_response_ends_with_3_and_prints_how_to_repeat_the_call(api, run, registration):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    result = run("register", str(registration), *QUICK)
    assert result.exit_code == 3
    _, meaning, advice = result.stderr.splitlines()
    assert meaning == "It may have succeeded on the server."
    again = run("register", str(registration), "--idempotency-key", advice.split()[-1])
    assert again.exit_code == 0
    assert len(api.instances) == 1


def test_a_start_with_unknown_outcome_points_to_show(api, run, instance_id):
    api.fail_next(FaultKind.APPLIED_THEN_500, FaultKind.BAD_GATEWAY)
    result = run("start", instance_id, "--max-retries", "1")
    assert result.exit_code == 3
    assert "2 attempts failed, the last with: 502" in result.stderr
    assert f"prefactor-http show {instance_id}" in result.stderr


def test_an_unreachable_api_ends_with_3_and_nothing_changed(api, run, dead_url):
    result = run("start", "0" * 32, "--api-url", dead_url, *QUICK)
    assert result.exit_code == 3
    assert "refused: is the API running there?" in result.stderr
    assert "Nothing was changed." in result.stderr
    assert "Check the network" in result.stderr


def test_a_rate_limit_says_when_to_try_again(api, run):
    api.fail_next(Fault(FaultKind.RATE_LIMITED, retry_after=90))
    result = run("ping")
    assert result.exit_code == 3
    assert "Try again in 90 seconds." in result.stderr


def test_a_server_that_is_not_the_api_ends_with_3(api, run):
    api.fail_next(FaultKind.JSON_ARRAY)
    assert run("show", "0" * 32).exit_code == 1
    api.fail_next(FaultKind.INVALID_JSON)
    result = run("ping", "--max-retries", "0")
    assert result.exit_code == 3
    assert f"{api.url} is not a Prefactor API (HTTP 200: " in result.stderr
    assert "Check PREFACTOR_API_URL" in result.stderr


def test_a_redirect_ends_with_1(api, run):
    api.fail_next(FaultKind.REDIRECTED)
    result = run("ping")
    assert result.exit_code == 1
    assert "redirects are not followed" in result.stderr


def test_the_deadline_limits_the_call(api, run):
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=20))
    started = time.monotonic()
    result = run("ping", "--deadline", "0.2")
    assert time.monotonic() - started < 5
    assert result.exit_code == 3
    assert "deadline" in result.stderr


def test_with_json_errors_are_json(api, run, instance_id):
    refused = run("finish", instance_id, "--json")
    assert refused.stdout == ""
    report = json.loads(refused.stderr)
    assert report["error"] == "PrefactorConflictError"
    assert (report["exit_code"], report["status_code"], report["code"]) == (
        1,
        409,
        "invalid_action",
    )
    assert report["outcome_unknown"] is False
    assert report["path"].endswith("/finish")
    api.fail_next(Fault(FaultKind.BAD_GATEWAY, body=ErrorBody.HTML))
    unknown = json.loads(run("start", instance_id, "--json", *QUICK).stderr)
    assert (unknown["exit_code"], unknown["outcome_unknown"]) == (3, True)
    assert unknown["idempotency_key"]
    usage = run("show", "--json", "..")
    assert json.loads(usage.stderr)["exit_code"] == usage.exit_code == 2


def test_with_json_standard_error_is_only_json(api, registration):
    api.fail_next(FaultKind.APPLIED_THEN_RESET)
    command = Path(sys.executable).with_name("prefactor-http")
    done = subprocess.run(
        [command, "register", registration, "--json", *QUICK],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert json.loads(done.stderr)["outcome_unknown"] is True
    assert api.token.encode() not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", ".."], "Error: '..' is not an id"),
        (["ping", "--api-url", "http://example.com"], "https"),
        (["ping", "--deadline", "0"], "--deadline"),
        (["finish", "x", "--status", "done"], "'done' is not one of"),
        (["ping", "--deadline", "x"], "'x' is not a valid number of seconds"),
        (["ping", "--token", "x"], "No such option"),
        (["unknown"], "No such command"),
    ],
)
def test_wrong_usage_ends_with_2(api, run, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not api.requests


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["show"], "ID"),
        (["spans"], "ID"),
        (["start"], "ID"),
        (["finish"], "ID"),
        (["terminate", "--reason", "r"], "ID"),
        (["terminate", "i", "--reason"], "--reason"),
        (["list", "--agent"], "--agent"),
        (["list", "--version"], "--version"),
        (["register", "{rows}", "--agent-id"], "--agent-id"),
        (["register", "{rows}", "--environment-id"], "--environment-id"),
        (["register", "{rows}", "--job"], "--job"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_wrong_usage(api, run, tmp_path, arguments, name):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    result = run(*[str(rows) if text == "{rows}" else text for text in arguments], "i\udcff")
    assert result.exit_code == 2
    assert f"Invalid value for '{name}'" in result.stderr
    assert r"'i\udcff' is not UTF-8." in result.stderr
    assert not api.requests


def test_a_missing_token_is_wrong_usage(api, run, monkeypatch):
    monkeypatch.delenv("PREFACTOR_API_TOKEN")
    result = run("ping")
    assert result.exit_code == 2
    assert "PREFACTOR_API_TOKEN is not set" in result.stderr


def test_a_broken_url_is_wrong_usage(api, run):
    result = run("ping", "--api-url", "http://127.0.0.1:99999", *QUICK)
    assert result.exit_code == 2


@pytest.mark.parametrize(("verb", "is_write"), [("start", True), ("show", False)])
def test_ctrl_c_ends_with_130_and_says_what_may_have_happened(
    api, run, instance_id, verb, is_write
):
    seen = len(api.requests)
    api.fail_next(Fault(FaultKind.STALLED_BEFORE_REPLY, seconds=20))

    def interrupt():
        while len(api.requests) == seen:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run(verb, instance_id)
    thread.join()
    assert result.exit_code == 130
    assert "interrupted by Ctrl-C" in result.stderr
    assert ("may have succeeded on the server" in result.stderr) is is_write
