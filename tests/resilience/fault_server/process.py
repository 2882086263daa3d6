"""Starts, stops and controls the process of the fault server."""

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

# Of writes that the server did not execute, although it executed later items of the same request.
_SKIPPED = "result = 'skipped' AND fault = 'output_missing'"


class FaultServer:
    """A running fault server.

    Args:
        ledger: File for its ledger; it must not exist.

    Attributes:
        url: Base URL of the server.
        token: The only valid token.
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
        self.url = f"http://127.0.0.1:{self._read_response()['port']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)  # closes stdin, so the server exits

    def configure(self, **settings: Any) -> None:
        """Change the fields of `server.Settings` and `api.Switches`."""
        self._send_command("configure", **settings)

    def restart(self, seconds: float = 0.0) -> None:
        """Restart on the same port; refuse connections for `seconds`."""
        self._send_command("restart", seconds=seconds)

    def never_accept(self, seconds: float) -> None:
        """Accept no connections for `seconds`, without refusing them."""
        self._send_command("never_accept", seconds=seconds)

    def open_tls(self) -> tuple[str, str]:
        """Serve TLS, too. Returns the URL and the certificate of the authority."""
        port, authority = self._send_command("open_tls")
        return f"https://127.0.0.1:{port}", authority

    def times_applied(self, operation: str, mark: str) -> int:
        """Return how often a write was applied so far."""
        return int(self._send_command("times_applied", operation=operation, mark=mark))

    def injected(self) -> Counter[str]:
        """Return the number of injected faults by kind."""
        return Counter(self._send_command("counts")["injected"])

    def counts(self) -> Counter[str]:
        """Return the counters of requests and broken rules."""
        return Counter(self._send_command("counts")["counts"])

    def effects(self) -> list[tuple[str, str, str, str, int]]:
        """Read the effects in the ledger: operation, mark, key, resource and times applied."""
        return self._query("SELECT operation, mark, key, resource, times FROM effects")

    def take_effects(self) -> list[tuple[str, str, str, str, int]]:
        """Read the effects in the ledger and delete them, to keep long runs fast."""
        return [tuple(effect) for effect in self._send_command("take_effects")]  # type: ignore[misc]

    def forget_requests(self) -> None:
        """Delete the history of requests."""
        self._send_command("forget_requests")

    def requests(self, keys: set[str], resources: set[str]) -> list[tuple[Any, ...]]:
        """Return the requests with one of the keys or resources, in order."""
        marks = [",".join("?" * len(names)) for names in (keys, resources)]
        return self._query(
            f"SELECT * FROM requests WHERE key IN ({marks[0]}) OR resource IN ({marks[1]})"
            " ORDER BY number",
            *keys,
            *resources,
        )

    def applied_keys(self) -> list[str]:
        """Return the keys of the writes that were applied, in order.

        A write that the server has skipped, although it executed later items of the same request,
        counts as applied: no client can prevent that.
        """
        rows = self._query(
            f"SELECT key FROM requests WHERE result = 'applied' OR ({_SKIPPED}) ORDER BY rowid"
        )
        return [key for (key,) in rows]

    def skipped_keys(self) -> set[str]:
        """Return the keys of the writes that it has skipped, and executed later items instead."""
        return {key for (key,) in self._query(f"SELECT key FROM requests WHERE {_SKIPPED}")}

    def requests_before(self, number: int, connection: int) -> list[tuple[Any, ...]]:
        """Return the last few requests of a connection, up to a request."""
        return self._query(
            "SELECT * FROM requests WHERE connection = ? AND number <= ?"
            " ORDER BY number DESC LIMIT 4",
            connection,
            number,
        )[::-1]

    def _query(self, query: str, *values: str | int) -> list[Any]:
        self._send_command("commit")
        with closing(sqlite3.connect(self._ledger)) as db:
            return db.execute(query, values).fetchall()

    def _send_command(self, verb: str, **fields: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, **fields}).encode() + b"\n")
        self._process.stdin.flush()
        return self._read_response()

    def _read_response(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())
