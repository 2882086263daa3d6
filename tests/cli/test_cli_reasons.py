"""Rows that fail for the same reason are reported once, with a count."""

import json

import pytest
from cli_server import answering, failure
from rows_support import last_words, lines, named, write

from prefactor_http.testing import FaultKind


@pytest.fixture
def refusing(monkeypatch):
    """Refuse the items of bulk requests, one a request as the API does."""

    def answer(path, body):
        item = body["items"][0]
        number = int(item["external_identifier"].partition("-")[2])
        if number % 3:
            error = failure("validation_errors", "invalid", purpose=["is not allowed"])
        else:
            error = failure("forbidden", f"row {number} is not yours")
        return 200, {"status": "success", "outputs": {item["idempotency_key"]: error}}

    with answering(answer) as url:
        monkeypatch.setenv("PREFACTOR_API_URL", url)
        monkeypatch.setenv("PREFACTOR_API_TOKEN", "token-of-mine")
        yield url


def test_identical_errors_are_one_line_with_a_count(refusing, run, parts, tmp_path):
    path = write(tmp_path, "rows.jsonl", named(60))
    # One request at a time: with more, the reason that is not shown may be any.
    result = run("register", path, *parts, "--job", "j", "--concurrency", "1")
    assert result.exit_code == 1
    said = result.stderr
    assert said.count("purpose is not allowed") == 2
    assert "40 rows (refused; lines 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, …): 422 validation" in said
    # Messages that differ are each shown.
    assert "rows.jsonl, line 4: 403 forbidden: row 3 is not yours" in said
    assert said.count("is not yours") == 19  # and the others are not, as 20 reasons are shown
    assert "Further reasons are not printed.\n" in said
    assert "Error: 60 rows refused." in said


def test_the_reasons_are_in_the_json(refusing, run, parts, tmp_path, out):
    path = write(tmp_path, "rows.jsonl", named(400))
    result = run("register", path, *parts, "--json", "--out", str(out))
    report = json.loads(result.stdout)
    assert json.loads(result.stderr)["message"] == "400 rows refused."
    reasons = report["reasons"]
    assert sum(reason["count"] for reason in reasons) == report["refused"] == 400
    (most,) = (reason for reason in reasons if reason["count"] > 100)
    assert most["reason"] == "422 validation_errors: purpose is not allowed"
    assert most["lines"] == [2, 3, 5, 6, 8, 9, 11, 12, 14, 15]
    assert len(reasons) == 101
    assert reasons[-1] == {
        "kind": "refused",
        "reason": None,
        "count": 400 - 99 - most["count"],
        "lines": [],
    }
    assert len(last_words(out)) == 400


def test_reasons_beyond_the_limit_are_counted(run, shared, tmp_path):
    rows = ({"purpose": f"fun-{number}"} for number in range(150))
    path = write(tmp_path, "rows.jsonl", lines(*rows))
    result = run("register", path, *shared, "--dry-run")
    assert "50 rows (refused): other reasons" in result.stderr


def test_rows_with_unknown_outcome_are_one_reason(api, run, shared, tmp_path):
    for _ in range(8):
        api.fail_next(FaultKind.APPLIED_THEN_RESET)
    path = write(tmp_path, "rows.jsonl", named(3))
    options = ["--job", "j", "--max-retries", "1", "--max-outage", "0"]
    result = run("register", path, *shared, *options)
    assert result.exit_code == 3
    said = "3 rows (unknown; lines 1, 2, 3): may be registered: the attempt failed: "
    assert said in result.stderr
    assert "Run the same command again: no row is registered twice." in result.stderr


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("dry", [False, True])
def test_a_run_stops_at_max_failures(api, run, shared, tmp_path, out, most, dry):
    path = write(tmp_path, "rows.jsonl", named(2) + b"oops\n" * 1000)
    options = ["--max-failures", str(most), *(["--dry-run"] if dry else ["--out", str(out)])]
    result = run("register", path, *shared, "--json", *options)
    assert result.exit_code == (4 if dry else 1)
    report = json.loads(result.stdout)
    assert report["refused"] == most
    assert json.loads(result.stderr)["message"] == (
        f"stopped after {most} failure{'s' if most > 1 else ''} (--max-failures)."
    )
    if not dry:
        assert sum(word["ok"] is False for word in last_words(out).values()) == most


def test_refusals_of_the_api_and_rows_never_sent_count_together(refusing, run, parts, tmp_path):
    path = write(tmp_path, "rows.jsonl", b"oops\n" * 2 + named(60))
    command = ["register", path, *parts, "--job", "j", "--concurrency", "1", "--json"]
    result = run(*command, "--max-failures", "3")
    assert json.loads(result.stdout)["refused"] == 3
    assert json.loads(result.stdout)["unknown"] == 0
