"""``show``, ``spans``, ``list`` and ``terminate``, against a local API and a server in a thread."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from cli_server import answering, failure, success

from prefactor_http import AgentSpan, HttpClientConfig, PrefactorHttpClient
from prefactor_http.cli.durations import duration, time_taken
from prefactor_http.cli.span_tree import SpanTree
from prefactor_http.cli.table import Column, Screen, table
from prefactor_http.testing import FaultKind

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
UNICODE = Screen(80, is_unicode=True)


def agent(api):
    return {
        "agent_id": api.agent_id,
        "environment_id": api.environment_id,
        "agent_version": {"external_identifier": "v1"},
        "agent_schema_version": {"external_identifier": "s1", "span_type_schemas": []},
    }


@pytest.fixture
def traced(api):
    """Run an instance with a small tree of spans, and give its id."""

    async def run():
        async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
            instance = await client.agent_instances.register(**agent(api))
            await client.agent_instances.start(instance.id)
            spans = client.agent_spans
            root = await spans.create(instance.id, "triage", "active", {})
            call = await spans.create(instance.id, "llm", "active", {}, parent_span_id=root.id)
            await spans.finish(call.id, "failed")
            await spans.create(instance.id, "too\x1b[31ml", "pending", {}, parent_span_id=call.id)
            await spans.create(instance.id, "search", "complete", {}, parent_span_id=root.id)
            return instance.id

    return asyncio.run(run())


def test_show_prints_the_tree_of_spans(run, traced):
    result = run("show", traced)
    assert (result.exit_code, result.stderr) == (0, "")
    head, tree = result.stdout.split("\n\n")
    assert f"agent instance  {traced}" in head
    assert re.search(r"^duration        \d+ ms so far$", head, re.MULTILINE)
    taken = r"\d+ (?:m?s)"
    lines = tree.splitlines()
    assert re.fullmatch(rf"triage +active +{taken} so far", lines[0])
    assert re.fullmatch(rf"├─ llm +failed +{taken}", lines[1])
    assert re.fullmatch(r"│  └─ too\\x1b\[31ml +pending", lines[2])
    assert re.fullmatch(rf"└─ search +complete +{taken}", lines[3])


def test_show_prints_the_instance_with_its_spans_as_json(run, traced):
    result = run("show", traced, "--json")
    shown = json.loads(result.stdout)
    assert (shown["id"], shown["status"]) == (traced, "active")
    assert [span["schema_name"] for span in shown["spans"]][:2] == ["triage", "llm"]
    assert result.stderr == ""


def test_all_pages_are_read_and_many_siblings_are_counted(api, run):
    async def trace():
        async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
            instance = await client.agent_instances.register(**agent(api))
            await client.agent_instances.start(instance.id)
            root = await client.agent_spans.create(instance.id, "root", "active", {})
            for number in range(205):
                status = "failed" if number == 100 else "complete"
                await client.agent_spans.create(
                    instance.id, f"step{number}", status, {}, parent_span_id=root.id
                )
            return instance.id

    instance_id = asyncio.run(trace())
    result = run("show", instance_id)
    assert "├─ … 190 more: 189 complete, 1 failed\n" in result.stdout
    assert "step9 " in result.stdout
    assert "step10 " not in result.stdout
    assert "└─ step204 " in result.stdout
    assert result.stderr == "190 spans are not shown. To show them, add --all.\n"
    result = run("show", instance_id, "--all")
    assert all(f"step{number} " in result.stdout for number in range(205))
    assert result.stderr == ""
    assert len(run("spans", instance_id, "--json").stdout.splitlines()) == 206


def test_an_instance_without_spans_is_shown_alone(run, instance_id):
    result = run("show", instance_id)
    assert "\n\n" not in result.stdout
    assert "duration" not in result.stdout  # it has not started
    assert json.loads(run("show", instance_id, "--json").stdout)["spans"] == []


def refusing_lists(path, _):
    if path.startswith("/api/v1/agent_spans"):
        return 401, failure("bad_authtoken", "This token cannot list.")
    return 200, success(status="complete")


def test_show_works_with_a_token_that_may_not_list_spans(api, run):
    with answering(refusing_lists) as url:
        result = run("show", "i1", "--api-url", url)
        assert result.exit_code == 0
        assert "status          complete" in result.stdout
        assert result.stderr.startswith("Warning: the spans are not shown: the API refused")
        assert "This token cannot list." in result.stderr
        result = run("show", "i1", "--api-url", url, "--json")
    assert json.loads(result.stdout)["spans"] is None
    assert len(json.loads(result.stderr)["warnings"]) == 1


@pytest.mark.parametrize("command", ["show", "spans"])
def test_an_unknown_id_is_reported(api, run, command):
    result = run(command, api.agent_id)
    assert result.exit_code == 1
    assert "404 not_found" in result.stderr
    assert result.stdout == ""


def test_spans_prints_a_table(run, traced):
    result = run("spans", traced)
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert re.split("  +", head) == ["id", "type", "status", "duration", "started (UTC)", "parent"]
    cells = [re.split("  +", row) for row in rows]
    assert [row[1:3] for row in cells] == [
        ["triage", "active"],
        ["llm", "failed"],
        ["too\\x1b[31ml", "pending"],
        ["search", "complete"],
    ]
    assert cells[1][-1] == cells[0][0]
    lines = run("spans", traced, "--json").stdout.splitlines()
    assert [json.loads(line)["schema_name"] for line in lines][1] == "llm"


def test_an_instance_without_spans_has_no_table(run, instance_id):
    result = run("spans", instance_id)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "The instance has no spans.\n"


@pytest.fixture
def three(api):
    async def register():
        async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
            return [(await client.agent_instances.register(**agent(api))).id for _ in range(103)]

    return asyncio.run(register())


def test_list_prints_the_newest_instances_first(api, run, three):
    result = run("list", "--limit", "2")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert re.split("  +", head) == ["id", "status", "registered (UTC)", "agent version"]
    assert [row.split()[0] for row in rows] == three[:-3:-1]
    assert result.stderr == "2 of 103 instances. To show more, add --limit N.\n"
    lines = run("list", "--limit", "102", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == three[:0:-1]


def test_list_reads_no_page_more_than_it_needs(api, run, three):
    before = len(api.requests)
    assert run("list", "--limit", "100").exit_code == 0
    assert len(api.requests) == before + 1


def test_list_filters_by_agent_and_version(api, run, three):
    version = api.instances[three[0]]["agent_version_id"]
    options = ["--agent", api.agent_id, "--version", version, "--limit", "200"]
    result = run("list", *options)
    assert len(result.stdout.splitlines()) == 104
    assert result.stderr == ""
    for option in ("--agent", "--version"):
        result = run("list", option, api.account_id)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "No agent instances were found.\n"


def test_list_works_with_an_api_that_cannot_sort(api, run):
    def answer(path, _):
        if "sorting" in path:
            return 422, failure("validation_errors", "bad", sorting=["is invalid"])
        summaries = [success(id=name)["details"] for name in ("i1", "i2")]
        return 200, {"status": "success", "summaries": summaries, "pagination": None}

    with answering(answer) as url:
        result = run("list", "--api-url", url)
    assert result.exit_code == 0
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["id", "i1", "i2"]
    assert result.stderr == (
        "Warning: this API cannot sort by id: the instances are in its own order\n"
    )


def test_list_reports_what_else_the_api_refuses(api, run):
    with answering(lambda *_: (422, failure("validation_errors", "bad", x=["is wrong"]))) as url:
        result = run("list", "--api-url", url)
    assert result.exit_code == 1
    assert "x is wrong" in result.stderr


def test_terminate_prints_the_instance(api, run, traced):
    result = run("terminate", traced, "--reason", "over budget")
    assert result.exit_code == 0
    assert "status          terminated" in result.stdout
    assert "terminated for  over budget" in result.stdout
    assert api.instances[traced]["termination_reason"] == "over budget"
    result = run("terminate", traced, "--reason", "again")
    assert result.exit_code == 1
    assert "409 invalid_action" in result.stderr
    assert "Nothing was changed." in result.stderr


@pytest.mark.parametrize("options", [[], ["--reason", " "]])
def test_terminate_needs_a_reason(api, run, traced, options):
    before = len(api.requests)
    result = run("terminate", traced, *options)
    assert result.exit_code == 2
    assert "reason" in result.stderr
    assert len(api.requests) == before


def test_a_terminate_of_unknown_outcome_says_how_to_check_it(api, run, traced):
    api.fail_next(FaultKind.APPLIED_THEN_500)
    result = run("terminate", traced, "--reason", "over budget", "--max-retries", "0")
    assert result.exit_code == 3
    assert f"prefactor-http show {traced}" in result.stderr


# The layout


def span(number, parent=None, name="step", status="complete", seconds=1.0):
    started = None if status == "pending" else NOW - timedelta(minutes=1) + timedelta(0, number)
    return AgentSpan(
        type="agent_span",
        id=str(number),
        agent_instance_id="i1",
        schema_name=name,
        status=status,
        parent_span_id=None if parent is None else str(parent),
        started_at=started,
        finished_at=started + timedelta(seconds=seconds) if status == "complete" else None,
    )


def tree_of(*spans, screen=UNICODE, is_complete=False):
    return [str(line) for line in SpanTree(spans, NOW, screen, is_complete=is_complete).lines()]


def test_siblings_are_in_the_order_of_their_start():
    lines = tree_of(span(3, name="c"), span(1, name="a"), span(2, name="b", status="pending"))
    assert [line.split()[0] for line in lines] == ["a", "c", "b"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_tree_of_any_depth_fits_the_terminal(width):
    chain = [span(number, number - 1 if number else None, "x" * 50) for number in range(3000)]
    lines = tree_of(*chain, screen=Screen(width, is_unicode=True))
    assert len(lines) == 3000
    assert max(map(len, lines)) <= width
    assert "[2999] xx" in lines[-1]
    assert all("xxxxx" in line and "complete" in line for line in lines)


def test_a_tree_with_control_characters_fits_the_terminal():
    (line,) = tree_of(span(1, name="\x1b" * 50), screen=Screen(60, is_unicode=True))
    assert "\x1b" not in line
    assert line.startswith("\\x1b\\x1b")
    assert len(line) <= 60


def test_a_deep_tree_in_a_pipe_is_indented_only_so_far():
    chain = [span(number, number - 1 if number else None) for number in range(3000)]
    assert max(map(len, tree_of(*chain, screen=Screen(None, is_unicode=True)))) < 120


def test_hidden_siblings_count_with_everything_below_them():
    wide = [span(number) for number in range(30)]
    below = [span(number, 15, status="pending") for number in range(100, 103)]
    lines = tree_of(*wide, *below)
    assert len(lines) == 16
    assert lines[10] == "… 18 more: 15 complete, 3 pending"
    assert len(tree_of(*wide, *below, is_complete=True)) == 33


def test_spans_whose_parent_is_missing_or_below_them_are_shown_once():
    lines = tree_of(span(1, 99, "orphan"), span(2, 3, "a"), span(3, 2, "b"), span(4, 4, "self"))
    assert [line.split("  ")[0] for line in lines] == ["orphan", "a", "└─ b", "self"]


def test_a_tree_is_drawn_in_ascii_where_the_terminal_has_no_more():
    screen = Screen(40, is_unicode=False)
    lines = tree_of(span(1), span(2, 1, "x" * 40), span(3, 2), span(4, 1), screen=screen)
    assert [line.split("  complete")[0].rstrip() for line in lines] == [
        "step",
        "|- xxxxxxxxxxxxxxxxx...",
        "|  `- step",
        "`- step",
    ]


@pytest.mark.parametrize(
    ("width", "titles"),
    [(None, "id name status note"), (36, "id name status"), (23, "name status"), (3, "status")],
)
def test_a_table_leaves_out_what_does_not_fit(width, titles):
    columns = [
        Column("id", rank=1),
        Column("name", min_width=8, rank=0),
        Column("status", is_status=True, rank=-1),
        Column("empty"),
        Column("note", rank=2, is_number=True),
    ]
    rows = [("i" * 12, "a name of some length", "complete", "", "n")]
    lines = [str(line) for line in table(columns, rows, Screen(width, is_unicode=True))]
    assert lines[0].split() == titles.split()
    if width and width > 10:
        assert max(map(len, lines)) <= width
        assert "…" in lines[1]


def test_wide_characters_count_twice():
    columns = [Column("name", min_width=4), Column("status")]
    lines = table(columns, [("日本語のスパン", "ok")], Screen(16, is_unicode=True))
    assert [str(line) for line in lines] == ["name      status", "日本語…   ok"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0129, "12 ms"),
        (0.9999, "999 ms"),
        (59.99, "59.9 s"),
        (60, "1 m 00 s"),
        (3599, "59 m 59 s"),
        (7500, "2 h 05 m"),
        (86_400 * 3 + 7200, "3 d 02 h"),
    ],
)
def test_durations_are_short_and_rounded_down(seconds, text):
    assert duration(seconds) == text
    started = NOW - timedelta(seconds=seconds)
    assert time_taken(started, NOW, NOW) == text
    assert time_taken(started, None, NOW) == f"{text} so far"


def test_on_a_terminal_states_have_colours(exit_code, traced, terminal):
    assert exit_code("show", traced, stdout=terminal) == 0
    text = terminal.getvalue()
    assert "\x1b[32mcomplete\x1b[0m" in text
    assert "\x1b[31mfailed\x1b[0m" in text
    assert "\\x1b[31ml" in text  # from the API: printed, not interpreted


def test_on_a_narrow_terminal_columns_are_left_out(exit_code, traced, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert exit_code("list", stdout=terminal) == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert max(map(len, plain.splitlines())) <= 60
    assert plain.split("\n", maxsplit=1)[0].split() == ["id", "status", "duration"]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(exit_code, traced, terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert exit_code("show", traced, stdout=terminal) == 0
    assert "\x1b" not in terminal.getvalue()
    assert re.search(r"├─ llm +failed", terminal.getvalue())
