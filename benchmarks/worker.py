"""Runs one contender in a separate process: reads commands from stdin, one JSON object per line.

`python -P worker.py CONTENDER URL LOOP SETTINGS`. Each result is written as one line of JSON. The
client lives as long as the process, as in an application. The worker runs as a file and without its
folder on `sys.path`, so that the reference does not import the package of this checkout.
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


async def run_commands(contender: str, url: str, settings: dict[str, Any]) -> None:
    """Open the contender's client and run commands until stdin is closed."""
    commands = importlib.import_module("benchmarks.commands")
    module = importlib.import_module(f"benchmarks.contenders.{contender}")
    async with module.open_calls(url, **settings) as calls:
        # Blocks the loop on purpose: nothing else should run between two commands.
        for line in sys.stdin:
            arguments = json.loads(line)
            command = commands.COMMANDS[arguments.pop("command")]
            print(json.dumps(await command(calls, **arguments)), flush=True)


def main() -> None:
    contender, url, loop, settings = sys.argv[1:]
    # Ours logs every failed call, and some measures make hundreds of calls fail.
    logging.getLogger().addHandler(logging.NullHandler())
    # After site-packages: the reference's package is found there, the contenders here.
    sys.path.append(str(Path(__file__).parent.parent))
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run_commands(contender, url, json.loads(settings)))


if __name__ == "__main__":
    main()
