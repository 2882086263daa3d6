"""Runs the server: ``python -m fault_server LEDGER``. Commands are JSON lines on stdin.

Each command is answered with one line on stdout. The server exits when stdin is closed, so that it
does not outlive its test.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from fault_server.api import Switches
from fault_server.ledger import Ledger
from fault_server.server import Server, Settings


async def _run(path: Path) -> None:
    ledger = Ledger(path)
    server = Server(ledger)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _respond({"port": await server.open()})
    while line := await commands.readline():
        command = json.loads(line)
        if command["do"] == "open_tls":
            _respond(await server.open_tls())
        else:
            _respond(_execute(server, ledger, command.pop("do"), command))


def _execute(server: Server, ledger: Ledger, verb: str, fields: dict[str, Any]) -> Any:
    if verb == "configure":
        switches = {name: fields.pop(name) for name in Switches.__match_args__ if name in fields}
        server.configure(Settings(**fields), Switches(**switches))
    elif verb == "restart":
        server.restart(fields["seconds"])
    elif verb == "never_accept":
        server.never_accept(fields["seconds"])
    elif verb == "times_applied":
        return ledger.times_applied(fields["operation"], fields["mark"])
    elif verb == "take_effects":
        return ledger.take_effects()
    elif verb == "forget_requests":
        ledger.forget_requests()
    elif verb == "commit":
        ledger.commit()
    elif verb == "counts":
        return {"injected": server.injected, "counts": server.counts | server.api.counts}
    return None


def _respond(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
