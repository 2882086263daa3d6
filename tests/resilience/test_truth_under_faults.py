"""Under all faults, callers get the true outcome: each write is compared with a ledger.

2,000 lifecycles with each way to write; `make soak` runs the same for any number.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from fault_server.process import FaultServer
from truth_oracle import Oracle, Violation
from truth_ways import KINDS, REFUSALS, WAYS, Campaign, run_way

# Thousands of calls through code that other tests cover: measuring them doubles their time.
pytestmark = pytest.mark.no_cover

SEED = 20260301
# Lifecycles by way. Together with the parameters below, 2,000, and the rows of a job.
LIFECYCLES = {
    "direct": 75,
    "direct, trusting": 60,
    "batched": 40,
    "batched, trusting": 30,
    "tls": 25,
    "execute": 75,
    "stream": 45,
    "stream, faults of bulk only": 100,
    "rows": 150,
    "outbox": 25,
    "outbox, opened again": 25,
}
PARAMETERS = [(s, loop) for s in ("own", "borrowed") for loop in ("asyncio", "uvloop")]
AT_LEAST = 20 // len(PARAMETERS)  # faults of each kind, so that together there are 20
LOST_ANSWERS = ["cut_header", "cut_body", "cut_chunks", "empty_200", "status_500"]
FAULTS = {"seed": SEED, "faults": 0.4, "at_accept": 0.1, "forget": 0.1, "outage_every": 200}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    with FaultServer(tmp_path / "ledger.sqlite") as server:
        yield server


@pytest.fixture(autouse=True)
def without_logs() -> Iterator[None]:
    """Do not keep the thousands of warnings about faults."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def violations(oracle: Oracle) -> str:
    return "\n".join(islice(oracle.dump(), 3))


def test_together_they_are_two_thousand_lifecycles() -> None:
    assert LIFECYCLES.keys() == WAYS.keys()
    lifecycles = sum(count for way, count in LIFECYCLES.items() if way != "rows")
    assert lifecycles * len(PARAMETERS) == 2_000


@pytest.mark.long
@pytest.mark.parametrize(("session", "loop"), PARAMETERS)
def test_under_every_fault_callers_learn_the_true_outcome(
    server: FaultServer, session: str, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    oracle = Oracle(server)
    campaign = Campaign(server, oracle, SEED, borrowed=session == "borrowed")
    for way, lifecycles in LIFECYCLES.items():
        run_way(campaign, way, lifecycles, loop, **FAULTS)
        assert not oracle.violations, f"{way}: {violations(oracle)}"
    assert_most_succeeded(campaign)
    # Most kinds occur 10 to 20 times, but the refusals depend on what the server has forgotten.
    for further in range(1, 11):
        if not too_rare(server):
            break
        campaign.seed = SEED + 10 * further
        run_way(campaign, "direct", 25, loop, **{**FAULTS, "seed": campaign.seed})
        assert not oracle.violations, f"direct, {further} more: {violations(oracle)}"
    assert not too_rare(server), f"too few of these faults for a proof: {too_rare(server)}"
    assert happened_in(server).keys() == {*KINDS, *REFUSALS}


def happened_in(server: FaultServer) -> Counter[str]:
    refusals = {kind: count for kind, count in server.counts().items() if kind in REFUSALS}
    return server.injected() + Counter(refusals)


def too_rare(server: FaultServer) -> dict[str, int]:
    happened = happened_in(server)
    return {k: happened[k] for k in (*KINDS, *REFUSALS) if happened[k] < AT_LEAST}


def assert_most_succeeded(campaign: Campaign) -> None:
    for way, counts in campaign.counts.items():
        most = LIFECYCLES[way] * (1 if way.startswith(("direct", "tls", "batched", "rows")) else 5)
        assert counts["ok"] > 0.4 * most, f"{way}: {counts} of {most}"


@pytest.mark.parametrize("way", WAYS)
def test_a_server_without_deduplication_is_detected(server: FaultServer, way: str) -> None:
    oracle = Oracle(server)
    for attempt in range(5):  # a stream makes few requests: at times the server loses no answer
        campaign = Campaign(server, oracle, SEED + attempt, borrowed=False)
        run_way(campaign, way, 80, "asyncio", **FAULTS, kinds=LOST_ANSWERS, deduplicate=False)
        if oracle.violations[Violation.APPLIED_TWICE]:
            return
    pytest.fail(f"not detected: {oracle.violations}")
