"""A contender in a process of its own: takes orders from stdin, one JSON object a line.

`python -P worker.py CONTENDER URL LOOP SETTINGS`. It answers each order with a line of JSON. The
client lives as long as the process, as it does in an application; between two orders it idles. It
runs as a file, without its folder on the path: the reference must not find this checkout's
package.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


async def obey(contender: str, url: str, settings: dict[str, Any]) -> None:
    """Open the contender's client and carry out orders until stdin ends."""
    orders = importlib.import_module("benchmarks.orders")
    module = importlib.import_module(f"benchmarks.contenders.{contender}")
    async with module.open_calls(url, **settings) as calls:
        # Reading blocks the loop on purpose: nothing else is to happen between two orders.
        for line in sys.stdin:
            order = json.loads(line)
            carry_out = orders.ORDERS[order.pop("measure")]
            print(json.dumps(await carry_out(calls, **order)), flush=True)


def main() -> None:
    """Run on the event loop that the command line names."""
    contender, url, loop, settings = sys.argv[1:]
    # Ours logs each call that gave up: hundreds, on purpose.
    logging.getLogger().addHandler(logging.NullHandler())
    # Last, behind site-packages: there the reference finds itself, and here its contender.
    sys.path.append(str(Path(__file__).parent.parent))
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(obey(contender, url, json.loads(settings)))


if __name__ == "__main__":
    main()
