"""Starts and stops the server's process, and asks it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from fault_server.server import TOKEN


class FaultServer:
    """A running fault server.

    Args:
        ledger: File for its ledger; it must not exist.

    Attributes:
        url: Where it listens.
        token: The token that it accepts.
    """

    token = TOKEN

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fault_server", str(ledger)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        self.url = f"http://127.0.0.1:{self._hear()['port']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)  # closes its stdin, which ends it

    def configure(self, **settings: Any) -> None:
        """Change what goes wrong: the fields of `server.Settings` and `api.Switches`."""
        self._ask("configure", **settings)

    def restart(self, seconds: float = 0.0) -> None:
        """Begin a restart on the same port, and refuse connections for so long."""
        self._ask("restart", seconds=seconds)

    def times_applied(self, operation: str, mark: str) -> int:
        """Say how often a write took effect so far."""
        return int(self._ask("times_applied", operation=operation, mark=mark))

    def injected(self) -> Counter[str]:
        """Count the faults so far, by kind."""
        return Counter(self._ask("counts")["injected"])

    def counts(self) -> Counter[str]:
        """Count what clients did."""
        return Counter(self._ask("counts")["counts"])

    def effects(self) -> list[tuple[str, str, str, str, int]]:
        """Read the ledger: operation, mark, key, resource and times applied."""
        return self._query("SELECT operation, mark, key, resource, times FROM effects")

    def take_effects(self) -> list[tuple[str, str, str, str, int]]:
        """Read the ledger and empty it, so that a long run does not read all of it each time."""
        return [tuple(effect) for effect in self._ask("take_effects")]  # type: ignore[misc]

    def forget_requests(self) -> None:
        """Empty the history of requests."""
        self._ask("forget_requests")

    def requests(self, keys: set[str], resources: set[str]) -> list[tuple[Any, ...]]:
        """Read the requests with one of the keys, or about one of the resources, in order."""
        marks = [",".join("?" * len(names)) for names in (keys, resources)]
        return self._query(
            f"SELECT * FROM requests WHERE key IN ({marks[0]}) OR resource IN ({marks[1]})"
            " ORDER BY number",
            *keys,
            *resources,
        )

    def requests_before(self, number: int, connection: int) -> list[tuple[Any, ...]]:
        """Read the last few requests of a connection up to one."""
        return self._query(
            "SELECT * FROM requests WHERE connection = ? AND number <= ?"
            " ORDER BY number DESC LIMIT 4",
            connection,
            number,
        )[::-1]

    def _query(self, query: str, *values: str | int) -> list[Any]:
        self._ask("commit")
        with closing(sqlite3.connect(self._ledger)) as db:
            return db.execute(query, values).fetchall()

    def _ask(self, verb: str, **fields: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, **fields}).encode() + b"\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())
