"""The ways to write, each with lifecycles under faults that are compared with the ledger.

A new way is one more entry in `WAYS`.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fault_server.faults import FAULTS
from fault_server.process import FaultServer
from fault_server.server import AT_ACCEPT, OUTAGES, POISON, WHILE_READING
from fault_server.tls import TLS_FAULTS
from truth_lifecycles import Attempts, Lifecycles, open_client
from truth_oracle import Oracle, Violation
from truth_outbox import OutboxLifecycles, threads_left
from truth_requests import execute
from truth_streams import GroupedItems, register_twice, stream

from prefactor_http import PrefactorHttpClient
from prefactor_http.outbox import Outbox

# Faults that correctly end a whole stream.
NOT_IN_STREAMS = ("unauthorised_401", "status_429_retry_after_a_day")
# Faults of bulk responses: with all faults, there are too few bulk requests for them. A 413 is not
# among them, because after it requests are smaller.
OF_BULK = tuple(kind for kind in FAULTS if kind.startswith(("output", "item_")))
# Faults that show the client a response to another call, or from an earlier state. For some time
# after one, it confirms every error on a new connection. Without them, it has to trust errors.
CONTRADICTIONS = (
    *("another_resource", "state_before", "stale_read"),
    *("late_duplicate", "duplicate_at_once", "duplicate_before_the_next", "length_too_small"),
    *(kind for kind in OF_BULK if kind.startswith("output")),
)
KINDS = frozenset({*FAULTS, *AT_ACCEPT, *WHILE_READING, *TLS_FAULTS, *OUTAGES, POISON})
# Refusals that the API itself sends, not a fault: a forgotten key is one reason.
REFUSALS = ("refused_invalid_action", "refused_validation_errors", "forgotten_keys_seen")


@dataclass
class Campaign:
    """One server, one oracle, and how clients are used.

    Attributes:
        seed: Seed of the lifecycles.
        borrowed: Whether the client borrows its session.
        at_a_time: Direct calls in flight.
        wave: Lifecycles between two comparisons with the ledger.
        request_timeout: Timeout of an attempt; faults that hang last as long.
        progress: Called with a text after each wave.
        counts: What happened, by way.
    """

    server: FaultServer
    oracle: Oracle
    seed: int
    borrowed: bool
    at_a_time: int = 50
    wave: int = 500
    request_timeout: float = 0.5
    progress: Callable[[str], None] = lambda _: None
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def waves(self, lifecycles: int) -> list[range]:
        """Return the numbers of the lifecycles of each wave."""
        starts = range(0, lifecycles, self.wave)
        return [range(first, min(first + self.wave, lifecycles)) for first in starts]

    def check(self, way: str, done: int, counts: Counter[str]) -> None:
        """Compare with the ledger and report progress."""
        self.oracle.compare()
        self.progress(f"{way}: {done} lifecycles, {dict(counts)}")


Run = Callable[[Campaign, int], Coroutine[Any, Any, Counter[str]]]
View = Callable[[PrefactorHttpClient], AbstractAsyncContextManager[PrefactorHttpClient]]


@dataclass(frozen=True)
class Way:
    """One way to write.

    Attributes:
        run: Runs a number of lifecycles, compares them with the ledger, and counts them.
        without: Faults that do not happen: most of them correctly end all work.
        forgets: Whether the server may forget keys.
        settings: Further settings of the server.
    """

    run: Run
    without: tuple[str, ...] = ()
    forgets: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


async def _run_calls(
    campaign: Campaign,
    lifecycles: int,
    *,
    way: str = "direct",
    offset: int = 0,
    tls: bool = False,
    is_trusting: bool = False,
    view: View = nullcontext,
) -> Counter[str]:
    """Single calls, from many tasks at a time.

    Args:
        campaign: The server and the oracle.
        lifecycles: Their number.
        way: Name of the way, for the progress.
        offset: Makes ids differ from those of the other ways.
        tls: Whether to connect with TLS.
        is_trusting: Whether the client has to trust its connections to the end.
        view: Makes of the client what the calls are made with.
    """
    attempts = Attempts()
    url, context = campaign.server.url, None
    if tls:
        url, authority = campaign.server.open_tls()
        context = ssl.create_default_context(cadata=authority)
    async with (
        open_client(
            url,
            campaign.server.token,
            borrowed=campaign.borrowed,
            tls=context,
            on_attempt=attempts,
            request_timeout=campaign.request_timeout,
        ) as client,
        view(client) as caller,
    ):
        runs = Lifecycles(
            caller,
            campaign.oracle,
            attempts,
            seed=campaign.seed + offset,
        )
        counts: Counter[str] = Counter()
        for numbers in campaign.waves(lifecycles):
            await runs.run(numbers, campaign.at_a_time)
            counts = Counter(ok=runs.completed, repeated=runs.repeated)
            campaign.check(way, numbers.stop, counts)
        if is_trusting:
            assert not client._executor.state.seen.has_suspect_connections
    return counts


async def _run_requests(campaign: Campaign, lifecycles: int) -> Counter[str]:
    """`bulk.execute`, two lifecycles per request, repeated by the caller."""
    counts: Counter[str] = Counter()
    async with open_client(
        campaign.server.url,
        campaign.server.token,
        borrowed=campaign.borrowed,
        request_timeout=campaign.request_timeout,
    ) as client:
        for numbers in campaign.waves(lifecycles):
            sources = [
                GroupedItems(
                    campaign.oracle,
                    campaign.seed + 1,
                    range(n, min(n + 2, numbers.stop)),
                    poison=0,
                )
                for n in numbers[::2]
            ]
            counts += await execute(client, campaign.oracle, sources, campaign.at_a_time)
            campaign.check("execute", numbers.stop, counts)
    return counts


async def _run_stream(
    campaign: Campaign, lifecycles: int, *, way: str = "stream", offset: int = 2
) -> Counter[str]:
    """`bulk.stream` with the calls of an instance as a group, some of them poison."""
    counts: Counter[str] = Counter()
    async with open_client(
        campaign.server.url,
        campaign.server.token,
        borrowed=campaign.borrowed,
        request_timeout=campaign.request_timeout,
    ) as client:
        for numbers in campaign.waves(lifecycles):
            source = GroupedItems(campaign.oracle, campaign.seed + offset, numbers, poison=0.04)
            counts += await stream(client, campaign.oracle, source, chunk_size=4, max_outage=20.0)
            campaign.check(way, numbers.stop, counts)
    return counts


async def _run_rows(campaign: Campaign, lifecycles: int) -> Counter[str]:
    """`register_many` with a job that stops early and runs again."""
    async with open_client(
        campaign.server.url,
        campaign.server.token,
        borrowed=campaign.borrowed,
        request_timeout=campaign.request_timeout,
    ) as client:
        counts = await register_twice(
            client, campaign.oracle, campaign.seed, lifecycles, chunk_size=4, max_outage=20.0
        )
        campaign.check("rows", lifecycles, counts)
    return counts


async def _run_outbox(
    campaign: Campaign,
    lifecycles: int,
    *,
    way: str = "outbox",
    offset: int = 4,
    restarts: int = 0,
    poison: float = 0.0,
    max_age: float | None = None,
) -> Counter[str]:
    """Calls that an outbox records, and delivers in the background.

    Args:
        campaign: The server and the oracle.
        lifecycles: Their number.
        way: Name of the way, for the progress.
        offset: Makes ids differ from those of the other ways.
        restarts: How often the outbox is closed and opened again in each wave.
        poison: Probability that a lifecycle has a write that makes its requests fail.
        max_age: Seconds after which the outbox gives up a write without an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_client(
                campaign.server.url,
                campaign.server.token,
                borrowed=campaign.borrowed,
                request_timeout=campaign.request_timeout,
            ) as client,
            Outbox(
                Path(folder) / "outbox.db",
                client,
                chunk_size=4,
                concurrency=campaign.at_a_time // 3,
                max_age=max_age,
                poll_interval=0.05,
            ) as outbox,
        ):
            runs = OutboxLifecycles(
                outbox,
                campaign.oracle,
                campaign.server,
                campaign.seed + offset,
                restarts=restarts,
                poison=poison,
            )
            for numbers in campaign.waves(lifecycles):
                await runs.run(numbers, campaign.at_a_time)
                campaign.check(way, numbers.stop, runs.counts)
    for thread in threads_left():
        campaign.oracle.report(Violation.TASK_LEFT, None, f"{way}: {thread}")
    return runs.counts


def _batched(client: PrefactorHttpClient) -> AbstractAsyncContextManager[PrefactorHttpClient]:
    return client.batched()


WAYS: dict[str, Way] = {
    "direct": Way(_run_calls),
    "direct, trusting": Way(
        partial(_run_calls, way="direct, trusting", offset=700, is_trusting=True), CONTRADICTIONS
    ),
    "tls": Way(
        partial(_run_calls, way="tls", offset=500, tls=True), settings={"at_handshake": 0.5}
    ),
    "batched": Way(partial(_run_calls, way="batched", offset=600, view=_batched)),
    "batched, trusting": Way(
        partial(_run_calls, way="batched, trusting", offset=800, is_trusting=True, view=_batched),
        CONTRADICTIONS,
    ),
    "execute": Way(
        _run_requests,
        settings={"script": [{"fault": "too_large_413", "operation": "bulk", "times": 5}]},
    ),
    "stream": Way(_run_stream, NOT_IN_STREAMS),
    "stream, faults of bulk only": Way(
        partial(_run_stream, way="stream, faults of bulk only", offset=3),
        settings={"kinds": [*OF_BULK], "faults": 0.65, "at_accept": 0.0},
    ),
    "rows": Way(_run_rows, NOT_IN_STREAMS, forgets=False),
    "outbox": Way(partial(_run_outbox, poison=0.04, max_age=0.2)),
    "outbox, opened again": Way(
        partial(_run_outbox, way="outbox, opened again", offset=5, restarts=3)
    ),
}


def run_way(campaign: Campaign, name: str, lifecycles: int, loop: str, **settings: Any) -> None:
    """Run lifecycles with a way on a new event loop.

    Args:
        campaign: The server and the oracle.
        name: Name of the way.
        lifecycles: Their number.
        loop: ``asyncio`` or ``uvloop``.
        settings: Settings of the server; those of the way take precedence.
    """
    way = WAYS[name]
    settings = {**settings, **way.settings}
    without = [*settings.pop("without", ()), *way.without]
    if not way.forgets:
        settings["forget"] = 0.0
    campaign.server.configure(**settings, without=without)
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        campaign.counts[name] = runner.run(way.run(campaign, lifecycles))
        left = asyncio.all_tasks(runner.get_loop())
    if left:
        campaign.oracle.report(Violation.TASK_LEFT, None, f"{name}: {left}")
