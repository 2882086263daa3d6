"""Single calls through `client.batched`, compared with direct calls."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from benchmarks.environments import BATCHED, NAMES, Contender
from benchmarks.processes import Worker, serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show

TITLE = "Automatic batching"
# Numbers of callers in the summary.
CALLERS, RESPONSE_TIME, THINK_TIME = 64, 0.030, 0.010
RATE, RATE_CALLERS, RATE_REGISTERS = 200, 512, 10_000
SERVICE_TIME = 0.020


# Callers that each make one call after another, and tasks that each make one call.
_COMMANDS = {"loops": "cost", "at once": "cost_at_once"}


class Scale(Struct):
    """Settings.

    Attributes:
        callers: Numbers of synchronised callers.
        count: Calls per slice and contender; the batched client makes four times as many.
        rounds: Rounds of these slices.
        launches: How often they are repeated with new processes.
        seconds: Duration of each slice of callers that pause or meet a slow server.
        slices: Number of these slices.
        waiting: Number of waiting calls whose memory is measured.
        settle: Seconds until their memory is measured.
        limited: Registers at the server with a rate limit.
        slow: Numbers of callers at the slow server.
    """

    callers: list[int]
    count: int
    rounds: int
    launches: int
    seconds: float
    slices: int
    waiting: int
    settle: float
    limited: int
    slow: list[int]


SCALES = {
    "tiny": Scale(
        [1, 4],
        count=8,
        rounds=2,
        launches=1,
        seconds=0.1,
        slices=1,
        waiting=150,
        settle=0.3,
        limited=200,
        slow=[4],
    ),
    "quick": Scale(
        [1, 16, 64],
        count=256,
        rounds=5,
        launches=1,
        seconds=0.8,
        slices=2,
        waiting=1000,
        settle=1.2,
        limited=20_000,
        slow=[64],
    ),
    "full": Scale(
        [1, 16, 64],
        count=512,
        rounds=8,
        launches=3,
        seconds=2.0,
        slices=4,
        waiting=2000,
        settle=2.5,
        limited=100_000,
        slow=[16, 64, 256],
    ),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Interleave direct and batched calls of the same kind of callers."""
    direct = [each for each in contenders if each.key in {"ours", "reference"}]
    ours = [each for each in direct if each.key == "ours"]
    return [
        *_synchronised(scale, [*direct, BATCHED]),
        *_unsynchronised(scale, [*direct, BATCHED]),
        *_memory(scale, ours),
        *_rate_limit(scale, [*ours, BATCHED]),
        *_slow_server(scale, [*ours, BATCHED]),
    ]


def _synchronised(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    for _ in range(scale.launches):
        with serving() as server, workers(contenders, server) as running:
            for callers in scale.callers:
                slices = {
                    (case, callers, worker.contender.key): partial(
                        _slice, worker, command, callers, scale
                    )
                    for case, command in _COMMANDS.items()
                    for worker in running
                }
                for key, measured in interleave(slices, scale.rounds).items():
                    found.setdefault(key, []).extend(measured)
    return [
        {
            "case": case,
            "callers": callers,
            "contender": contender,
            "cpu_us": _spread(values, "cpu_us"),
            "calls_per_second": _spread(values, "calls_per_second"),
            "batched_to_this": _ratio(found[case, callers, BATCHED.key], values, "cpu_us"),
        }
        for (case, callers, contender), values in found.items()
    ]


def _slice(worker: Worker, command: str, callers: int, scale: Scale) -> dict[str, float]:
    # A batched call takes a fraction of the time of the others.
    is_fast = worker.contender.key == BATCHED.key and callers > 1
    count = max(4 * callers, scale.count * (4 if is_fast else 1))
    done = worker.run(command, call="register", count=count, concurrency=callers)
    return {"cpu_us": 1e6 * done["cpu"] / count, "calls_per_second": count / done["wall"]}


def _unsynchronised(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Let callers pause before each call.

    The pauses themselves need CPU time: each is a timer. It is measured with callers that make no
    call and pause so much longer that there are as many pauses per second, and is subtracted.
    """

    def run(worker: Worker, *, call: str | None = "register", pause: float = THINK_TIME) -> Any:
        # Not reset: the ids would start again, and the client would take them for mixed up.
        requests = server.stats()["requests"]
        done = worker.run(
            "closed_loop", call=call, callers=CALLERS, think_time=pause, seconds=scale.seconds
        )
        count = len(done["durations"])
        return {
            "cpu_us": 1e6 * done["cpu"] / count,
            "mean_ms": 1e3 * statistics.fmean(done["durations"]),
            "calls_per_request": count / max(1, server.stats()["requests"] - requests),
        }

    with serving(delay=RESPONSE_TIME) as server, workers(contenders, server) as running:
        slices = {worker.contender.key: partial(run, worker) for worker in running}
        slices["pauses"] = partial(run, running[0], call=None, pause=THINK_TIME + RESPONSE_TIME)
        found = interleave(slices, scale.slices)
    pauses = found.pop("pauses")
    for values in found.values():
        for value, pause in zip(values, pauses, strict=True):
            value["calls_cpu_us"] = value["cpu_us"] - pause["cpu_us"]
    batched = found[BATCHED.key]
    return [
        {
            "case": "unsynchronised",
            "callers": CALLERS,
            "contender": key,
            "pause_cpu_us": _spread(pauses, "cpu_us"),
            **{name: _spread(values, name) for name in values[0]},
            "batched_to_this": _ratio(batched, values, "calls_cpu_us"),
            "batched_to_this_with_pauses": _ratio(batched, values, "cpu_us"),
            "mean_to_this": _ratio(batched, values, "mean_ms"),
        }
        for key, values in found.items()
    ]


def _memory(scale: Scale, ours: Sequence[Contender]) -> Rows:
    cases = [*((each, count) for each in ours for count in (100, scale.waiting)), (BATCHED, 100)]
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(scale.launches):
        for contender, connections in cases:
            with (
                serving(delay=600) as server,
                workers([contender], server, max_connections=connections) as (worker,),
            ):
                done = worker.run("memory", count=scale.waiting, seconds=scale.settle)
            if done["unfinished"] != scale.waiting:
                raise RuntimeError(f"{contender.name}: only {done['unfinished']} calls wait")
            grown = done["grown"] / scale.waiting / 1000
            found.setdefault((contender.key, connections), []).append(grown)
    return [
        {
            "case": "memory",
            "callers": scale.waiting,
            "contender": contender,
            "connections": connections,
            "kb_per_call": Spread.of(values),
            "batched_to_this": ratio(found[BATCHED.key, 100], values),
        }
        for (contender, connections), values in found.items()
    ]


def _rate_limit(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    rows: Rows = []
    for contender in contenders:
        with serving(rate=RATE) as server, workers([contender], server) as (worker,):
            # A direct client would need minutes for as many registers as the batched one makes.
            count = scale.limited // (1 if contender.key == BATCHED.key else 50)
            server.reset()
            done = worker.run("flood", count=count, callers=RATE_CALLERS, seconds=60)
            stats = server.stats()
        row = {
            "case": "rate limit",
            "callers": RATE_CALLERS,
            "contender": contender.key,
            "finished": done["finished"],
            "raised": done["raised"],
            "per_second": done["finished"] / done["wall"],
            "calls_per_request": done["finished"] / stats["requests"],
            "rejected": stats["rejected"],
        }
        rows.append(row)
    return rows


def _slow_server(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Let callers meet a server that works on one bulk item after another."""

    def run(worker: Worker, callers: int) -> dict[str, float]:
        done = worker.run(
            "closed_loop", call="register", callers=callers, think_time=0, seconds=scale.seconds
        )
        percent = statistics.quantiles(done["durations"], n=100, method="inclusive")
        return {
            "per_second": len(done["durations"]) / done["wall"],
            "p50_ms": 1e3 * percent[49],
            "p99_ms": 1e3 * percent[98],
        }

    rows: Rows = []
    for callers in scale.slow:
        with (
            serving(service_time=SERVICE_TIME) as server,
            workers(contenders, server, max_connections=100) as running,
        ):
            slices = {each.contender.key: partial(run, each, callers) for each in running}
            found = interleave(slices, scale.slices)
        batched = found[BATCHED.key]
        rows += [
            {
                "case": "slow server",
                "callers": callers,
                "contender": key,
                **{name: _spread(values, name) for name in values[0]},
                "this_to_batched": _ratio(values, batched, "per_second"),
                "p99_to_this": _ratio(batched, values, "p99_ms"),
            }
            for key, values in found.items()
        ]
    return rows


def _spread(values: Iterable[Mapping[str, float]], name: str) -> Spread:
    return Spread.of([each[name] for each in values])


def _ratio(
    values: Iterable[Mapping[str, float]], base: Iterable[Mapping[str, float]], name: str
) -> Spread:
    return ratio([each[name] for each in values], [each[name] for each in base])


def tables(rows: Rows) -> list[Table]:
    return [
        _table_synchronised("callers that make one call after another", _of(rows, "loops")),
        _table_synchronised("tasks that make one call each", _of(rows, "at once")),
        _table_unsynchronised(_of(rows, "unsynchronised")),
        _table_memory(_of(rows, "memory")),
        _table_rate_limit(_of(rows, "rate limit")),
        _table_slow_server(_of(rows, "slow server")),
    ]


def _of(rows: Rows, case: str, **wanted: object) -> Rows:
    wanted["case"] = case
    return [row for row in rows if wanted.items() <= row.items()]


def _table_synchronised(who: str, rows: Rows) -> Table:
    lines = [
        (
            f"{row['callers']}, {NAMES[row['contender']]}",
            show(row["cpu_us"], 1),
            show(row["batched_to_this"], 3),
            f"{row['calls_per_second']['median']:,.0f}",
        )
        for row in rows
    ]
    columns = ("", "CPU time per call, µs", "batched / this", "calls per second")
    return Table(f"An awaited register, by the number of {who}", columns, lines)


def _table_unsynchronised(rows: Rows) -> Table:
    lines = [
        (
            NAMES[row["contender"]],
            show(row["calls_per_request"], 1),
            show(row["calls_cpu_us"], 1),
            show(row["batched_to_this"], 3),
            show(row["batched_to_this_with_pauses"], 3),
            show(row["mean_ms"], 1),
            show(row["mean_to_this"]),
        )
        for row in rows
    ]
    columns = (
        "",
        "calls per request",
        "CPU time per call, µs",
        "batched / this",
        "the same with pauses",
        "mean latency, ms",
        "batched / this",
    )
    title = (
        f"{CALLERS} unsynchronised callers, responses after {1e3 * RESPONSE_TIME:.0f} ms,"
        f" pauses of {1e3 * THINK_TIME:.0f} ms on average"
    )
    pauses = show(rows[0]["pause_cpu_us"], 1)
    note = f"A caller's pause needs {pauses} µs of CPU time, which is subtracted."
    return Table(title, columns, lines, note=note)


def _table_memory(rows: Rows) -> Table:
    lines = [
        (
            f"{NAMES[row['contender']]}, {row['connections']:,} connections",
            show(row["kb_per_call"], 1),
            show(row["batched_to_this"]),
        )
        for row in rows
    ]
    columns = ("", "kB per call", "batched / this")
    return Table(f"Resident memory of {rows[0]['callers']:,} waiting calls", columns, lines)


def _table_rate_limit(rows: Rows) -> Table:
    lines = [
        (
            NAMES[row["contender"]],
            f"{row['per_second']:,.0f}",
            f"{row['calls_per_request']:,.1f}",
            f"{row['finished']:,}",
            f"{row['raised']:,}",
            f"{row['rejected']:,}",
        )
        for row in rows
    ]
    columns = (
        "",
        "registers per second",
        "calls per request",
        "finished",
        "failed",
        "requests rejected",
    )
    title = f"{RATE_CALLERS} callers, limit of {RATE} requests per second"
    return Table(title, columns, lines)


def _table_slow_server(rows: Rows) -> Table:
    lines = [
        (
            f"{row['callers']} callers, {NAMES[row['contender']]}",
            show(row["per_second"], 0),
            show(row["p50_ms"], 1),
            show(row["p99_ms"], 1),
        )
        for row in rows
    ]
    title = f"A server that works {1e3 * SERVICE_TIME:.0f} ms on each item, one after another"
    return Table(title, ("", "registers per second", "p50, ms", "p99, ms"), lines)


def findings(rows: Rows) -> list[Finding]:
    """Return the figures of the batched client."""
    found: list[Finding] = []
    reference, ours = NAMES["reference"], NAMES["ours"]
    for row in _of(rows, "loops"):
        callers = row["callers"]
        if row["contender"] == "reference" and callers > 1:
            name = f"batched register, {callers} callers, CPU time relative to {reference}"
            found.append(Finding(name, row["batched_to_this"], 3))
        if row["contender"] == "ours" and callers == 1:
            name = f"batched register, 1 caller, CPU time relative to {ours}, direct"
            found.append(Finding(name, row["batched_to_this"]))
    for row in _of(rows, "unsynchronised"):
        name = f"{CALLERS} unsynchronised callers, batched:"
        if row["contender"] == "reference":
            what = f"{name} CPU time relative to {reference}"
            found.append(Finding(what, row["batched_to_this"], 3))
        elif row["contender"] == "ours":
            what = f"{name} mean latency relative to direct calls"
            found.append(Finding(what, row["mean_to_this"]))
        else:
            requests = 1 / row["calls_per_request"]["median"]
            found.append(Finding(f"{name} requests per call", requests, 3))
    found += [
        Finding(
            f"{row['callers']:,} waiting batched calls, memory relative to direct calls,"
            f" {row['connections']:,} connections",
            row["batched_to_this"],
        )
        for row in _of(rows, "memory", contender="ours")
    ]
    found += [
        Finding(
            f"{RATE_CALLERS} callers, limit of {RATE} requests per second:"
            f" seconds per {RATE_REGISTERS:,} batched registers",
            RATE_REGISTERS / row["per_second"],
        )
        for row in _of(rows, "rate limit", contender=BATCHED.key)
    ]
    for row in _of(rows, "slow server", contender="ours"):
        name = f"slow server, {row['callers']} callers:"
        what = f"{name} throughput of direct calls relative to batched ones"
        found.append(Finding(what, row["this_to_batched"]))
        what = f"{name} p99 of batched calls relative to direct ones"
        found.append(Finding(what, row["p99_to_this"]))
    return found
