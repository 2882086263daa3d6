"""Writes through an outbox: their cost, an API that is down, and a process that is killed."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks import environments
from benchmarks.environments import DELIVERING, NAMES, RECORDING, Contender
from benchmarks.processes import Server, Worker, serving, workers
from benchmarks.results import Rows
from benchmarks.rounds import Spread, interleave, ratio
from benchmarks.tables import Finding, Table, show
from prefactor_http.testing import LocalPrefactor
from prefactor_http.testing import serving as serving_locally

TITLE = "Outbox"
FAULTS = (0.0, 0.3)
CALLERS = 16
# Both clients retry quickly, so that a run is short.
_CLIENT = {"request_timeout": 1.0, "initial_retry_delay": 0.01, "max_retry_delay": 0.1}
_LIFECYCLE = (
    "agent_instances.register",
    "agent_instances.start",
    "agent_spans.create",
    "agent_spans.finish",
    "agent_instances.finish",
)
_NOWHERE = Server("http://127.0.0.1:1", None)


class Scale(Struct):
    """Settings.

    Attributes:
        callers: Numbers of concurrent writers.
        count: Calls per slice and contender; an outbox makes four times as many.
        rounds: Rounds of these slices.
        seconds: For how long blocks are run while the API is down.
        lifecycles: Lifecycles of a run that is not killed.
        kills: Runs that are killed, for each share of faults.
        kill_after: Seconds after which they are killed at the latest.
    """

    callers: list[int]
    count: int
    rounds: int
    seconds: float
    lifecycles: int
    kills: int
    kill_after: float


SCALES = {
    "tiny": Scale([2, 4], count=16, rounds=2, seconds=1.0, lifecycles=5, kills=1, kill_after=0.02),
    "quick": Scale(
        [16, 256], count=512, rounds=5, seconds=2.0, lifecycles=150, kills=2, kill_after=0.8
    ),
    "full": Scale(
        [16, 256], count=1024, rounds=15, seconds=5.0, lifecycles=400, kills=8, kill_after=0.8
    ),
}


def measure(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    """Compare an outbox with direct calls, and with the queue of `prefactor-core`."""
    direct = [each for each in contenders if each.key in {"ours", "reference"}]
    queues = [DELIVERING]
    if any(each.key == "reference" for each in contenders):
        queues.append(environments.core())
    return [*_cost(scale, direct), *_down(scale), *_lifecycles(scale, queues)]


def _cost(scale: Scale, direct: Sequence[Contender]) -> Rows:
    def run(worker: Worker, callers: int) -> float:
        command, count = "cost", max(scale.count, callers)
        if worker.contender.module == RECORDING.module:
            command, count = "cost_until_flushed", 4 * count
        if worker.contender.key == RECORDING.key:
            command = "cost"
        done = worker.run(command, call="register", count=count, concurrency=callers)
        return 1e6 * float(done["cpu"]) / count

    rows: Rows = []
    with (
        serving() as server,
        workers(direct, server) as running,
        workers([RECORDING], server, deliver=False) as recording,
        workers([DELIVERING], server) as delivering,
    ):
        for callers in scale.callers:
            slices = {
                each.contender.key: partial(run, each, callers)
                for each in (*running, *recording, *delivering)
            }
            found = interleave(slices, scale.rounds)
            rows += [
                {
                    "case": "cost",
                    "callers": callers,
                    "contender": key,
                    "cpu_us": Spread.of(values),
                    **{f"to_{each.key}": ratio(values, found[each.key]) for each in direct},
                }
                for key, values in found.items()
            ]
    return rows


def _down(scale: Scale) -> Rows:
    with workers([DELIVERING], _NOWHERE) as (worker,):
        done = worker.run(
            "closed_loop", call="run", callers=1, think_time=0.005, seconds=scale.seconds
        )
    percent = statistics.quantiles(done["durations"], n=100, method="inclusive")
    row = {"case": "down", "p50_ms": 1e3 * percent[49], "p99_ms": 1e3 * percent[98]}
    return [row]


def _lifecycles(scale: Scale, contenders: Sequence[Contender]) -> Rows:
    rows: Rows = []
    for contender in contenders:
        for faults in FAULTS:
            rows.append(_unkilled(scale, contender, faults))
            rows += [_killed(scale, contender, faults, number) for number in range(scale.kills)]
    return rows


def _unkilled(scale: Scale, contender: Contender, faults: float) -> dict[str, Any]:
    """Run lifecycles to their end: what they cost, and what was not applied."""

    def run(count: int) -> dict[str, Any]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        row = _run(contender, faults, count, 1)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {**row, "cpu": cpu}

    idle, row = run(0), run(scale.lifecycles)
    cpu = row.pop("cpu") - idle["cpu"]
    return {"case": "unkilled", **row, "cpu_us": 1e6 * cpu / max(1, row["accepted"])}


def _killed(scale: Scale, contender: Contender, faults: float, number: int) -> dict[str, Any]:
    kill_after = Random(number).uniform(scale.kill_after / 8, scale.kill_after)
    return {"case": "killed", **_run(contender, faults, None, number, kill_after)}


def _run(
    contender: Contender, faults: float, count: int | None, seed: int, kill_after: float = 0.0
) -> dict[str, Any]:
    """Run lifecycles, kill the process unless there is a `count`, and compare with the ledger."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_locally(LocalPrefactor(faults=faults, seed=seed, stall=1.5)) as api,
    ):
        accepted = Path(folder, "accepted")
        accepted.touch()
        server = Server(api.url, None)
        settings = {
            "token": api.token,
            "agent_id": api.agent_id,
            "environment_id": api.environment_id,
            **_CLIENT,
        }
        if contender.module == DELIVERING.module:
            settings["path"] = str(Path(folder).resolve() / "outbox.db")
        with workers([contender], server, **settings) as (worker,):
            arguments = {"count": count, "callers": CALLERS, "file": str(accepted)}
            if count is not None:
                worker.run("accepted_lifecycles", **arguments)
            else:
                _kill(worker, arguments, accepted, kill_after)
        if count is None and "path" in settings:
            with workers([contender], server, **settings) as (worker,):
                worker.run("flush")
        time.sleep(0.2)  # requests in flight when the process was killed
        effects = Counter((each.action, each.resource_id) for each in api.effects)
        writes = {tuple(line.split()) for line in accepted.read_text().splitlines()}
        return {
            "contender": contender.key,
            "faults": faults,
            "accepted": len(writes),
            "lost": len(writes - effects.keys()),
            "doubled": len(api.doubled) + sum(count > 1 for count in effects.values()),
            "instances": len(api.instances),
            "out_of_order": _out_of_order(api),
        }


def _out_of_order(api: LocalPrefactor) -> int:
    """Count the instances whose applied writes are not the first ones of their lifecycle."""
    applied: dict[str | None, list[int]] = {}
    for effect in api.effects:
        instance_id = effect.resource_id
        if effect.action.startswith("agent_spans."):
            instance_id = api.spans[str(instance_id)]["agent_instance_id"]
        order = applied.setdefault(instance_id, [])
        position = _LIFECYCLE.index(effect.action)
        if position not in order:  # a doubled write is counted as such
            order.append(position)
    return sum(order != list(range(len(order))) for order in applied.values())


def _kill(worker: Worker, arguments: dict[str, Any], accepted: Path, seconds: float) -> None:
    stdin = worker.process.stdin
    assert stdin is not None
    command = {"command": "accepted_lifecycles", **arguments}
    stdin.write(msgspec.json.encode(command).decode() + "\n")
    stdin.flush()
    while not accepted.stat().st_size:
        time.sleep(0.01)
    time.sleep(seconds)
    worker.process.kill()
    worker.process.wait()


def tables(rows: Rows) -> list[Table]:
    return [
        _table_cost(_of(rows, "cost")),
        _table_down(_of(rows, "down")),
        _table_lifecycles(rows),
    ]


def _of(rows: Rows, case: str, **wanted: object) -> Rows:
    wanted["case"] = case
    return [row for row in rows if wanted.items() <= row.items()]


def _table_cost(rows: Rows) -> Table:
    others = [name for name in ("reference", "ours") if f"to_{name}" in rows[0]]
    lines = [
        (
            f"{row['callers']} concurrent, {NAMES[row['contender']]}",
            show(row["cpu_us"], 1),
            *(show(row[f"to_{name}"]) for name in others),
        )
        for row in rows
    ]
    columns = ("", "CPU time, µs", *(f"relative to {NAMES[name]}" for name in others))
    return Table("CPU time of a register", columns, lines)


def _table_down(rows: Rows) -> Table:
    lines = [("outbox.run", show(row["p50_ms"], 2), show(row["p99_ms"], 2)) for row in rows]
    title = "What recording adds to a block while the API is down"
    return Table(title, ("", "median, ms", "99th percentile, ms"), lines)


def _table_lifecycles(rows: Rows) -> Table:
    lines: list[tuple[str, ...]] = []
    for case, what in (("unkilled", "not killed"), ("killed", "killed")):
        for key in dict.fromkeys(row["contender"] for row in _of(rows, case)):
            for faults in FAULTS:
                mine = _of(rows, case, contender=key, faults=faults)
                shares = [_share(row) for row in mine]
                cost = [show(row["cpu_us"], 0) for row in mine if "cpu_us" in row]
                lines.append(
                    (
                        f"{NAMES[key]}, {what}, {faults:.0%} faults",
                        f"{sum(row['accepted'] for row in mine):,}",
                        f"{min(shares):.0%}–{max(shares):.0%}",  # noqa: RUF001
                        f"{sum(row['doubled'] for row in mine):,}",
                        _broken(mine),
                        *(cost or [""]),
                    )
                )
    columns = (
        "",
        "writes accepted",
        "of them lost",
        "doubled",
        "instances with a gap or out of order",
        "CPU time per write, µs",
    )
    title = f"Lifecycles of {CALLERS} callers, to their end and with a kill at a random moment"
    return Table(title, columns, lines)


def _broken(rows: Rows) -> str:
    broken, all_of_them = (sum(row[key] for row in rows) for key in ("out_of_order", "instances"))
    return f"{broken:,} of {all_of_them:,}"


def _share(row: dict[str, Any]) -> float:
    return float(row["lost"]) / max(1, row["accepted"])


def findings(rows: Rows) -> list[Finding]:
    """Return the figures of the outbox."""
    found: list[Finding] = []
    reference = NAMES["reference"]
    for row in _of(rows, "cost"):
        if row["contender"] in {RECORDING.key, DELIVERING.key} and "to_reference" in row:
            name = NAMES[row["contender"]]
            what = f"{name}, {row['callers']} concurrent, CPU time relative to {reference}"
            found.append(Finding(what, row["to_reference"]))
    for row in _of(rows, "down"):
        what = "outbox.run while the API is down, ms"
        found.append(Finding(f"{what}, median", row["p50_ms"]))
        found.append(Finding(f"{what}, 99th percentile", row["p99_ms"]))
    killed = _of(rows, "killed")
    for key in dict.fromkeys(row["contender"] for row in killed):
        lost = [_share(row) for row in killed if row["contender"] == key]
        what = f"largest share of accepted writes that a kill lost, {NAMES[key]}"
        found.append(Finding(what, max(lost)))
    return found
