"""A contender in a process of its own: takes orders from stdin, one JSON object a line.

`python -P worker.py CONTENDER URL LOOP`. It answers each order with a line of JSON. The client
lives as long as the process, as it does in an application; between two orders it idles. It runs
as a file, without its folder on the path: the reference must not find this checkout's package.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.contenders import Calls


async def cost(calls: Calls, order: dict[str, Any]) -> dict[str, Any]:
    """Make `count` calls, `concurrency` at a time; CPU is user and system of this process."""
    call: Callable[[], Awaitable[object]] = calls[order["call"]]
    turns = iter(range(order["count"]))

    async def caller(turns: Iterator[int]) -> None:
        for _ in turns:
            await call()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(turns) for _ in range(order["concurrency"])))
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


async def about(_calls: Calls, _order: dict[str, Any]) -> dict[str, Any]:
    """Tell what runs here."""
    names = ("aiohttp", "httpx", "msgspec", "prefactor-http", "pydantic", "tenacity", "uvloop")
    loaded = [name for name in names if name.replace("-", "_") in sys.modules]
    return {name: metadata.version(name) for name in loaded}


_MEASURES = {"cost": cost, "about": about}


async def obey(contender: str, url: str) -> None:
    """Open the contender's client and carry out orders until stdin ends."""
    module = importlib.import_module(f"benchmarks.contenders.{contender}")
    async with module.open_calls(url) as calls:
        # Reading blocks the loop on purpose: nothing else is to happen between two orders.
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(await _MEASURES[order["measure"]](calls, order)), flush=True)


def main() -> None:
    """Run on the event loop that the command line names."""
    contender, url, loop = sys.argv[1:]
    # Last, behind site-packages: there the reference finds itself, and here its contender.
    sys.path.append(str(Path(__file__).parent.parent))
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(obey(contender, url))


if __name__ == "__main__":
    main()
