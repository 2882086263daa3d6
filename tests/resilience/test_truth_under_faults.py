"""Under all faults, callers get the true outcome: each write is compared with a ledger.

``python tests/resilience/soak.py`` runs the same for any number of lifecycles.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fault_server.faults import FAULTS
from fault_server.process import FaultServer
from fault_server.server import AT_ACCEPT, POISON, RESTART, WHILE_READING
from soak import NOT_IN_STREAMS, run_lifecycles, run_on, run_rows, run_streams
from truth_oracle import Oracle, Violation

# Thousands of calls through code that other tests cover: measuring them doubles their time.
pytestmark = pytest.mark.no_cover

LIFECYCLES = 80
ITEMS = 500
ROWS = 240
SEED = 20260301
ON_CONNECTIONS = {*AT_ACCEPT, *WHILE_READING}
ONLY_IN_BULK = {name for name in FAULTS if name.startswith(("output", "item_", "too_large"))}
ONLY_DIRECT = {"another_resource", "state_before", "stale_read", *NOT_IN_STREAMS}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    with FaultServer(tmp_path / "ledger.sqlite") as server:
        yield server


@pytest.fixture(params=["own", "borrowed"])
def borrowed(request: pytest.FixtureRequest) -> bool:
    return request.param == "borrowed"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "seed": SEED,
        "faults": 0.35,
        "at_accept": 0.1,
        "forget": 0.1,
        "restart_every": 250,
        **changes,
    }


def assert_truth(oracle: Oracle) -> None:
    assert not oracle.violations, "\n".join(islice(oracle.dump(), 3))


def test_callers_of_direct_calls_learn_the_true_outcome(
    server: FaultServer, borrowed: bool, loop: str
) -> None:
    server.configure(**settings())
    oracle = Oracle(server)
    lifecycles = run_lifecycles(
        server, oracle, lifecycles=LIFECYCLES, seed=SEED, borrowed=borrowed, at_a_time=50
    )
    counts = run_on(loop, lifecycles)
    assert_truth(oracle)
    assert counts["completed"] > 0.7 * LIFECYCLES  # most lifecycles completed
    injected = server.injected()
    assert injected.keys() == {*FAULTS, *ON_CONNECTIONS, RESTART} - ONLY_IN_BULK
    assert server.counts()["forgotten_keys_seen"]


def test_outcomes_of_a_stream_are_true(server: FaultServer, borrowed: bool, loop: str) -> None:
    server.configure(**settings(faults=0.45, without=NOT_IN_STREAMS))
    oracle = Oracle(server)
    items = run_streams(
        server,
        oracle,
        items=ITEMS,
        seed=SEED,
        borrowed=borrowed,
        poison=0.04,
        chunk_size=4,
        max_outage=20.0,
        request_timeout=0.2,
    )
    states = run_on(loop, items)
    assert_truth(oracle)
    assert states["ok"] > 0.8 * ITEMS
    injected = server.injected()
    # Faults of reads occur only where an outcome had to be verified.
    assert injected.keys() >= {*FAULTS, *ON_CONNECTIONS, RESTART, POISON} - ONLY_DIRECT
    assert server.counts()["forgotten_keys_seen"]


def test_outcomes_of_a_job_that_runs_twice_are_true(
    server: FaultServer, borrowed: bool, loop: str
) -> None:
    server.configure(**settings(without=NOT_IN_STREAMS, forget=0))
    oracle = Oracle(server)
    states = run_on(loop, run_rows(server, oracle, rows=ROWS, seed=SEED, borrowed=borrowed))
    assert_truth(oracle)
    assert states["ok"] > 0.9 * ROWS
    assert server.counts()["replays"] > 0.4 * ROWS


def test_the_oracle_detects_a_server_without_deduplication(server: FaultServer) -> None:
    server.configure(**settings(deduplicate=False))
    oracle = Oracle(server)
    run_on("asyncio", run_lifecycles(server, oracle, lifecycles=50, seed=SEED, borrowed=False))
    assert oracle.violations[Violation.APPLIED_TWICE]


def test_the_oracle_detects_duplicate_rows_without_deduplication(server: FaultServer) -> None:
    server.configure(**settings(deduplicate=False, without=NOT_IN_STREAMS))
    oracle = Oracle(server)
    run_on("asyncio", run_rows(server, oracle, rows=50, seed=SEED, borrowed=False))
    assert oracle.violations[Violation.APPLIED_TWICE]
