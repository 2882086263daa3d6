"""The benchmarks run end to end at a small scale, and their counts are correct."""

import json
import time
import urllib.request
from pathlib import Path

import pytest

from benchmarks import environments, measures, report, results, tables, workload
from benchmarks.contenders import BULK_PATH, REGISTER_PATH
from benchmarks.measures import batching, calls, faults, outbox
from benchmarks.processes import serving, workers
from benchmarks.rounds import Spread, interleave, ratio

LOCAL = [environments.OURS, environments.BY_HAND, environments.FLOOR]
SPREAD = {"median": 2.0, "low": 1.0, "high": 3.0}


def result_of(measure, rows):
    return results.Result(
        measure=measure,
        scale="quick",
        date="2026-01-01 00:00 UTC",
        machine={"cpu": "A", "cores": "2", "kernel": "B", "libc": "C"},
        versions={"ours and the others": {"Python": "3.11.0"}},
        settings={},
        rows=rows,
    )


@pytest.fixture(scope="module")
def compared():
    settings = calls.SCALES["tiny"]
    return results.result("calls", "tiny", settings, calls.measure(settings, LOCAL), LOCAL)


def test_the_calls_of_all_contenders_are_compared(compared):
    assert [row["contender"] for row in compared.rows] == ["ours", "hand", "floor"]
    for row in compared.rows:
        assert row["cpu_us"]["median"] > 0
    assert compared.rows[0]["ours_to_this"]["median"] == 1


def test_saved_results_are_loaded_unchanged(compared, tmp_path):
    results.save(compared, tmp_path)
    assert results.load(tmp_path) == {"calls": compared}


def test_results_do_not_contain_local_paths(compared, tmp_path):
    results.save(compared, tmp_path)
    text = (tmp_path / "calls.json").read_text()
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[1]) not in text


def test_a_worker_runs_every_command():
    with serving() as server, workers([environments.OURS], server) as (worker,):
        assert not worker.run("is_imported", module="tenacity")
        timed = worker.run("latency", call="register", rate=500, count=5)
        assert len(timed["seconds"]) == 5
        assert worker.run("rows", count=150)["cpu"] > 0
        bulk = {"call": "bulk", "number": 2, "kilobytes": 20, "count": 1, "read": True}
        assert worker.run("cost", **bulk)["wall"] > 0
        flooded = worker.run("flood", count=5, callers=2, seconds=5)
        assert (flooded["finished"], flooded["raised"]) == (5, 0)
        assert server.stats()["requests"] == 5 + 2 + 1 + 5
    with (
        serving(delay=60) as server,
        workers([environments.OURS], server, max_connections=5) as (worker,),
    ):
        memory = worker.run("memory", count=10, seconds=0.1)
        assert memory["unfinished"] == 10


def test_lifecycles_are_compared_with_the_ledger():
    (row,) = faults.measure(faults.SCALES["tiny"], LOCAL)
    assert row["completed"] == row["lifecycles"] == 10
    assert row["doubled"] == row["lost"] == row["wrongly_raised"] == 0


@pytest.mark.long
def test_an_outbox_loses_nothing_when_its_process_is_killed():
    settings = outbox.SCALES["tiny"]
    result = results.result("outbox", "tiny", settings, outbox.measure(settings, LOCAL), LOCAL)
    killed = [row for row in result.rows if row["case"] == "killed"]
    assert [row["faults"] for row in killed] == [0, 0.3]
    assert all(row["accepted"] > 0 for row in killed)
    assert all(row["lost"] == row["doubled"] == 0 for row in result.rows if "lost" in row)
    assert len(outbox.tables(result.rows)) == 3
    assert outbox.findings(result.rows)


@pytest.mark.long
def test_batched_calls_are_compared_with_direct_ones():
    settings = batching.SCALES["tiny"]
    result = results.result("batching", "tiny", settings, batching.measure(settings, LOCAL), LOCAL)
    assert len(batching.tables(result.rows)) == 6
    by_case = {row["case"]: row for row in result.rows if row["contender"] == "batched"}
    assert by_case["unsynchronised"]["calls_per_request"]["median"] > 1
    assert by_case["rate limit"]["finished"] == settings.limited
    assert by_case["rate limit"]["raised"] == 0
    assert batching.findings(result.rows)


def test_a_server_works_on_bulk_items_one_after_another():
    def seconds_for(server, path, body):
        started = time.perf_counter()
        request = urllib.request.Request(server.url + path, json.dumps(body).encode())
        request.add_header("Content-Length", str(len(request.data)))
        urllib.request.urlopen(request).close()
        return time.perf_counter() - started

    types = ["agent_instances/register"] * 3 + ["agent_instances/start"] * 20
    items = [{"_type": each, "idempotency_key": f"key-{n}"} for n, each in enumerate(types)]
    with serving(service_time=0.05) as server:
        assert seconds_for(server, REGISTER_PATH, workload.register_body()) >= 0.05
        assert 3 * 0.05 <= seconds_for(server, BULK_PATH, {"items": items}) < 20 * 0.05
        assert seconds_for(server, BULK_PATH, {"items": items[3:]}) < 20 * 0.05


def test_the_ledger_counts_a_doubled_write():
    def register(server, **more):
        body = {**workload.register_body(), **more}
        request = urllib.request.Request(server.url + REGISTER_PATH, json.dumps(body).encode())
        request.add_header("Content-Length", str(len(request.data)))
        with urllib.request.urlopen(request) as response:
            return json.load(response)["details"]["id"]

    with serving(fault_rate=0.0) as server:
        ids = {register(server, external_identifier="a") for _ in range(2)}
        again = {"external_identifier": "b", "idempotency_key": "key-of-b"}
        same = {register(server, **again) for _ in range(2)}
        stats = server.stats()
    assert (len(ids), len(same)) == (2, 1)
    assert (stats["doubled"], stats["instances"], stats["replayed"]) == (1, 3, 1)


@pytest.mark.parametrize(
    ("record", "count"),
    [
        ({"name": "done", "raised": None}, {"completed": 1}),
        ({"name": "nowhere", "raised": None}, {"completed": 1, "lost": 3}),
        (
            {"name": "done", "raised": "finish", "outcome_unknown": False},
            {"raised": 1, "wrongly_raised": 1},
        ),
        (
            {"name": "done", "raised": "finish", "outcome_unknown": True},
            {"raised": 1, "raised_unknown": 1},
        ),
        ({"name": "nowhere", "raised": "register", "outcome_unknown": True}, {"raised": 1}),
    ],
)
def test_outcomes_are_compared_with_what_took_effect(record, count):
    stats = {"doubled": 0, "registered": ["done"], "started": ["done"], "finished": ["done"]}
    counts = faults.count_outcomes([record], stats)
    assert {name: each for name, each in counts.items() if each} == count


def test_slices_are_interleaved_in_rotating_order():
    order = []
    interleave({name: lambda name=name: order.append(name) for name in "abc"}, 2, warm=False)
    assert "".join(order) == "abcbca"


def test_ratios_are_calculated_within_each_round():
    assert ratio([1, 20, 3], [2, 40, 6]) == Spread(0.5, 0.5, 0.5)


def test_the_summary_has_each_figure_with_its_quartiles():
    spread = {"median": 0.55, "low": 0.5, "high": 0.6}
    table = tables.summary([tables.Finding("a", spread), tables.Finding("b", 3, 0)])
    assert table.rows == [("a", "0.55 [0.50–0.60]"), ("b", "3")]  # noqa: RUF001
    assert "0.55 [0.50" in tables.as_text(table)


def test_every_measure_has_all_scales():
    for name in measures.NAMES:
        assert set(measures.named(name).SCALES) == {"tiny", "quick", "full"}


def test_the_committed_results_cover_every_measure():
    committed = results.load(results.FOLDER)
    assert tuple(name for name in measures.NAMES if name in committed) == measures.NAMES
    assert report.all_findings(committed).rows
    assert len(report.front_page(committed).rows) == 6


def test_both_readmes_show_the_committed_results():
    committed = results.load(results.FOLDER)
    for page in (report.README, report.FRONT_PAGE):
        text = page.read_text(encoding="utf-8")
        # If this fails, run `make bench-report`.
        assert report.with_results(text, committed) == text


def test_tables_replace_the_text_between_their_markers(compared):
    page = "before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n"
    text = report.with_results(page, {"calls": compared})
    assert text.startswith("before\n<!-- results -->\n\n### CPU time per call\n")
    assert text.endswith("\n<!-- end of results -->\nafter\n")
    assert "old" not in text
    assert "aiohttp by hand" in text
    assert report.with_results(text, {"calls": compared}) == text


def test_the_same_results_give_the_same_plots(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks import plots

    case = {"call": "register", "concurrency": 16, "allocator": "settled"}
    faulty = {"contender": "ours", "setting": "12 retries", "lifecycles": 10, "rate": 0.1}
    rows = {"contender": "ours", "keys": "random", "kilobytes": 0.5, "rows": 10}
    rows["rows_per_second"] = SPREAD
    together = {"case": "loops", "cpu_us": SPREAD, "callers": 1}
    small = {
        "calls": result_of("calls", [{**case, "contender": "ours", "cpu_us": SPREAD}]),
        "faults": result_of("faults", [{**faulty, "doubled": 0, "wrongly_raised": 1}]),
        "register_many": result_of("register_many", [rows, {**rows, "keys": "derived"}]),
        "batching": result_of(
            "batching",
            [
                {**together, "contender": "ours"},
                {**together, "contender": "batched"},
                {**together, "contender": "batched", "callers": 16},
            ],
        ),
    }
    first, second = tmp_path / "first", tmp_path / "second"
    names = [file.name for file in plots.draw(small, first)]
    for file in plots.draw(small, second):
        assert file.read_bytes() == (first / file.name).read_bytes()
    assert names == [
        "cost-per-call.svg",
        "rows-per-second.svg",
        "cost-when-batched.svg",
        "doubled-writes.svg",
    ]
