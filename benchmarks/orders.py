"""What a worker can be ordered to measure. Standard library only, as `worker` says."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.contenders import Calls


async def cost(
    calls: Calls, *, call: str, count: int, concurrency: int = 1, **arguments: Any
) -> dict[str, Any]:
    """Make `count` calls, `concurrency` at a time; CPU is user and system of this process."""
    make = partial(calls[call], **arguments)
    turns = iter(range(count))

    async def caller(turns: Iterator[int]) -> None:
        for _ in turns:
            await make()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(turns) for _ in range(concurrency)))
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


async def latency(calls: Calls, *, call: str, rate: float, count: int) -> dict[str, Any]:
    """Start a call every `1 / rate` seconds, whether or not those before it have ended.

    A call's time runs from its start. That a timer fires late is told apart, as `late`: timers of
    an event loop have a grain of a millisecond, which is nobody's doing.
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
    for turn in range(count):
        due = begin + turn / rate
        await asyncio.sleep(due - loop.time())
        late.append(loop.time() - due)
        tasks.append(asyncio.create_task(timed()))
    await asyncio.gather(*tasks)
    return {"seconds": seconds, "late": late}


async def rows(
    calls: Calls, *, count: int, times: int = 1, job: str | None = None, kilobytes: float = 0.5
) -> Any:
    """Register `count` rows, `times` over; `grown` is how far the process's peak has risen."""
    peak = _peak()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        ok = await calls["rows"](count, job, kilobytes)
        if ok != count:
            raise RuntimeError(f"{ok} of {count} rows are registered")
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {**spent, "grown": _peak() - peak}


async def held(calls: Calls, *, count: int, seconds: float) -> dict[str, Any]:
    """Hold `count` registers in flight, and tell by how many bytes the process has grown."""
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
    """Carry out `count` lifecycles; tell what the caller of each was told."""
    lifecycle: Callable[[str], Awaitable[dict[str, Any]]] = calls["lifecycle"]
    names = iter([f"ticket-{number}" for number in range(count)])
    records: list[dict[str, Any]] = []

    async def caller() -> None:
        for name in names:
            records.append(await lifecycle(name))  # noqa: PERF401 # callers share the list

    wall = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return {"wall": time.perf_counter() - wall, "records": records}


async def flood(calls: Calls, *, count: int, callers: int, seconds: float) -> dict[str, Any]:
    """Register until `count` rows are taken or `seconds` are over, each caller without a pause."""
    register = calls["register"]
    turns = iter(range(count))
    done = {"finished": 0, "raised": 0}
    began = time.perf_counter()

    async def caller() -> None:
        for _ in turns:
            try:
                await register()
            except Exception:  # noqa: BLE001 # whatever it is: the row is not finished
                done["raised"] += 1
            else:
                done["finished"] += 1
            if time.perf_counter() - began > seconds:
                return

    await asyncio.gather(*(caller() for _ in range(callers)))
    return {**done, "wall": time.perf_counter() - began}


async def loaded(_calls: Calls, *, module: str) -> bool:
    """Tell whether a module has been imported so far."""
    return module in sys.modules


ORDERS = {each.__name__: each for each in (cost, latency, rows, held, lifecycles, flood, loaded)}


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _resident() -> int:
    statm = Path("/proc/self/statm")  # elsewhere the peak stands for it: it only grows here
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else _peak()


def _raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
