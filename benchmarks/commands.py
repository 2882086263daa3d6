"""The commands of a worker. Standard library only: they also run in the reference's environment."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.contenders import Calls


async def cost(
    calls: Calls, *, call: str, count: int, concurrency: int = 1, **arguments: Any
) -> dict[str, Any]:
    """Make `count` calls, `concurrency` at a time; return CPU (user and system) and wall time."""
    make = partial(calls[call], **arguments)
    remaining = iter(range(count))

    async def caller() -> None:
        for _ in remaining:
            await make()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


async def cost_at_once(calls: Calls, *, call: str, count: int, concurrency: int) -> dict[str, Any]:
    """Make `count` calls in rounds: `concurrency` calls start together, and all are awaited."""
    make = calls[call]
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count // concurrency):
        await asyncio.gather(*(make() for _ in range(concurrency)))
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


async def cost_until_flushed(
    calls: Calls, *, call: str, count: int, concurrency: int
) -> dict[str, Any]:
    """Make calls as `cost` does, and include what happens until `flush` returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    await cost(calls, call=call, count=count, concurrency=concurrency)
    await calls["flush"]()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


async def closed_loop(
    calls: Calls, *, call: str | None, callers: int, think_time: float, seconds: float
) -> dict[str, Any]:
    """Let callers make one call after another for some time, and return how long each call took.

    Before each call, a caller pauses for a random time, `think_time` on average, so the callers are
    not synchronised. Without a call they only pause.
    """
    make = calls[call] if call else _nothing
    random = Random(1)
    durations: list[float] = []
    wall, cpu = time.perf_counter(), time.process_time()

    async def caller() -> None:
        while time.perf_counter() - wall < seconds:
            if think_time:
                await asyncio.sleep(random.uniform(0, 2 * think_time))
            started = time.perf_counter()
            await make()
            durations.append(time.perf_counter() - started)

    await asyncio.gather(*(caller() for _ in range(callers)))
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {**spent, "durations": durations}


async def _nothing() -> None:
    pass


async def latency(calls: Calls, *, call: str, rate: float, count: int) -> dict[str, Any]:
    """Start a call every `1 / rate` seconds, whether or not earlier calls have finished.

    Latency is measured from the start of a call. The delay of the timer that starts it is reported
    separately as `late`, because timers of an event loop only have millisecond resolution.
    """
    make = calls[call]
    loop = asyncio.get_running_loop()
    seconds: list[float] = []
    late: list[float] = []

    async def timed() -> None:
        started = time.perf_counter()
        await make()
        seconds.append(time.perf_counter() - started)

    begin = loop.time() + 0.01
    tasks: list[asyncio.Task[None]] = []
    for number in range(count):
        due = begin + number / rate
        await asyncio.sleep(due - loop.time())
        late.append(loop.time() - due)
        tasks.append(asyncio.create_task(timed()))
    await asyncio.gather(*tasks)
    return {"seconds": seconds, "late": late}


async def rows(
    calls: Calls, *, count: int, times: int = 1, job: str | None = None, kilobytes: float = 0.5
) -> Any:
    """Register `count` rows, `times` times; `grown` is the growth of peak memory in bytes."""
    peak = _peak()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        ok = await calls["rows"](count, job, kilobytes)
        if ok != count:
            raise RuntimeError(f"{ok} of {count} rows were registered")
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {**spent, "grown": _peak() - peak}


async def memory(calls: Calls, *, count: int, seconds: float) -> dict[str, Any]:
    """Keep `count` registers in flight and return the growth of resident memory in bytes."""
    _raise_file_limit()
    warm = asyncio.gather(*(calls["start"]() for _ in range(50)))
    await warm
    before = _resident()
    tasks = [asyncio.ensure_future(calls["register"]()) for _ in range(count)]
    await asyncio.sleep(seconds)
    grown = _resident() - before
    unfinished = sum(not task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"grown": grown, "unfinished": unfinished}


async def lifecycles(calls: Calls, *, count: int, concurrency: int) -> dict[str, Any]:
    """Run `count` lifecycles and return the outcome that each caller saw."""
    lifecycle: Callable[[str], Awaitable[dict[str, Any]]] = calls["lifecycle"]
    names = iter([f"ticket-{number}" for number in range(count)])
    records: list[dict[str, Any]] = []

    async def caller() -> None:
        for name in names:
            records.append(await lifecycle(name))  # noqa: PERF401 # callers share the list

    wall = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return {"wall": time.perf_counter() - wall, "records": records}


async def accepted_lifecycles(
    calls: Calls, *, count: int | None, callers: int, file: str
) -> dict[str, Any]:
    """Run lifecycles, endless ones if `count` is None, and write each accepted write to a file.

    A write is accepted when its call has returned. The file is complete after a kill. A lifecycle
    ends at a call that fails.
    """
    names = itertools.count() if count is None else iter(range(count))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def accept(action: str, resource_id: str) -> None:
        os.write(descriptor, f"{action} {resource_id}\n".encode())

    async def caller() -> None:
        for _ in names:
            with suppress(Exception):
                await calls["lifecycle"](accept)

    await asyncio.gather(*(caller() for _ in range(callers)))
    os.close(descriptor)
    return await flush(calls)


async def flush(calls: Calls) -> dict[str, Any]:
    """Wait until everything is delivered, if the contender can."""
    if "flush" in calls:
        await calls["flush"]()
    return {}


async def flood(calls: Calls, *, count: int, callers: int, seconds: float) -> dict[str, Any]:
    """Register rows without pause until `count` have been started or `seconds` are over."""
    register = calls["register"]
    remaining = iter(range(count))
    done = {"finished": 0, "raised": 0}
    started = time.perf_counter()

    async def caller() -> None:
        for _ in remaining:
            try:
                await register()
            except Exception:  # noqa: BLE001 # any error: the row is not finished
                done["raised"] += 1
            else:
                done["finished"] += 1
            if time.perf_counter() - started > seconds:
                return

    await asyncio.gather(*(caller() for _ in range(callers)))
    return {**done, "wall": time.perf_counter() - started}


async def is_imported(_calls: Calls, *, module: str) -> bool:
    return module in sys.modules


_COMMANDS = (
    *(cost, cost_at_once, cost_until_flushed, closed_loop, latency, rows, memory),
    *(lifecycles, accepted_lifecycles, flush, flood, is_imported),
)
COMMANDS = {each.__name__: each for each in _COMMANDS}


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _resident() -> int:
    statm = Path("/proc/self/statm")  # other systems: use the peak
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else _peak()


def _raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
