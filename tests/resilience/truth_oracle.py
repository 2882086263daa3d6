"""Oracle: compares the outcomes that callers got with the ledger of the server."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fault_server.process import FaultServer


class Reported(StrEnum):
    """Final outcome that the caller of a write got."""

    OK = "ok"
    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"


class Violation(StrEnum):
    """Errors of the client that the oracle detects."""

    APPLIED_TWICE = "applied twice"
    LOST = "reported as successful, but not applied"
    DENIED = "reported as not applied, but applied"
    MIXED_UP = "the result is that of another write"
    WRONG_KEY = "the error names another key than the one that was sent"
    NO_KEY = "a cancelled call does not name its key"
    ENDLESS = "a call that does not end"
    UNEXPECTED = "an exception that is not the package's"
    STRAY = "applied, but not requested"
    NO_OUTCOME = "an item with no outcome or several"
    RUN_ENDED = "the run ended early"
    CONTRACT = "the client broke a rule of the API"
    OUT_OF_ORDER = "applied before an earlier write of its instance"
    TASK_LEFT = "a task runs on after the client is closed"


@dataclass
class Write:
    """One logical write and the outcome that its caller got.

    Attributes:
        operation: Such as ``agent_instances.start``.
        mark: Identifies the write in the ledger.
        keys: Keys that the caller gave or got.
        reported: The outcome so far.
        resource: Id of the resource in the result.
        history: The attempts and errors that the caller saw.
    """

    operation: str
    mark: str
    keys: set[str] = field(default_factory=set)
    reported: Reported | None = None
    resource: str | None = None
    history: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.history.append(f"{time.time() % 1000:.3f} {text}")


class Oracle:
    """Collects writes and violations.

    Attributes:
        violations: Number of violations by kind.
        reports: The first violations, with the requests that led to them.
        reported: Number of outcomes by operation.
    """

    MAX_REPORTS = 20

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._writes: dict[tuple[str, str], Write] = {}
        self._seen_counts: Counter[str] = Counter()
        self._unknown: set[tuple[str, str]] = set()
        self.violations: Counter[str] = Counter()
        self.reports: list[dict[str, Any]] = []
        self.reported: Counter[str] = Counter()

    def write(self, operation: str, mark: str) -> Write:
        """Register a new write."""
        write = self._writes[operation, mark] = Write(operation, mark)
        return write

    def report(self, violation: Violation, write: Write | None, detail: str) -> None:
        """Record a violation."""
        self.violations[violation] += 1
        if self.violations[violation] > self.MAX_REPORTS:
            return
        report: dict[str, Any] = {"violation": violation, "detail": detail}
        if write is not None:
            resources = {name for name in (write.resource, write.mark) if name}
            requests = self._server.requests(write.keys, resources)
            report |= {
                "operation": write.operation,
                "mark": write.mark,
                "reported": write.reported,
                "keys": sorted(write.keys),
                "resource": write.resource,
                "client": write.history,
                "server": requests,
            }
            if violation is Violation.MIXED_UP:
                report["same_connection"] = [
                    self._server.requests_before(request[0], request[1])
                    for request in requests
                    if request[4] in write.keys
                ]
        self.reports.append(report)

    def was_applied(self, write: Write) -> bool:
        """Whether the ledger contains the write now."""
        return self._server.times_applied(write.operation, write.mark) > 0

    def compare(self) -> None:
        """Compare all writes so far with the ledger, then drop them."""
        effects: dict[tuple[str, str], list[tuple[str, str, int]]] = defaultdict(list)
        for operation, mark, key, resource, times in self._server.take_effects():
            effects[operation, mark].append((key, resource, times))
        for name, found in effects.items():
            # The server may apply a write after its request has timed out.
            if name not in self._writes and name not in self._unknown:
                self.report(Violation.STRAY, None, f"{name}: {found}")
        for name, write in self._writes.items():
            self._check(write, effects.get(name, []))
            self.reported[f"{write.operation} {write.reported}"] += 1
            if write.reported is Reported.UNKNOWN:
                self._unknown.add(name)
        self._writes.clear()
        self._server.forget_requests()
        counts = self._server.counts()
        for rule in (
            "keyless",
            "conflicts",
            "bodies_changed",
            "redirects_followed",
            "bad_requests",
        ):
            new = counts[rule] - self._seen_counts[rule]
            if new:
                self.report(Violation.CONTRACT, None, f"{rule}: {new}")
        self._seen_counts = counts

    def _check(self, write: Write, effects: list[tuple[str, str, int]]) -> None:
        times = sum(times for _, _, times in effects)
        if times > 1:
            self.report(Violation.APPLIED_TWICE, write, f"effects: {effects}")
        elif write.reported is Reported.OK and not times:
            self.report(Violation.LOST, write, "there is no effect")
        elif write.reported is Reported.NOT_APPLIED and times:
            self.report(Violation.DENIED, write, f"effects: {effects}")
        elif times:
            ((key, resource, _),) = effects
            if write.keys and key not in write.keys:
                self.report(Violation.WRONG_KEY, write, f"the server saw {key}")
            if write.reported is Reported.OK and write.resource != resource:
                self.report(Violation.MIXED_UP, write, f"the server made {resource}")

    def dump(self) -> Iterable[str]:
        """Yield each report as a JSON line."""
        return (json.dumps(report, default=str) for report in self.reports)
