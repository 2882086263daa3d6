"""Reports rows that are not registered. Each reason is printed once, with a count."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Hashable
from enum import Enum
from typing import Any

from msgspec import Struct

from prefactor_http.cli.progress import Progress

_MAX_PRINTED = 20
_MAX_REASONS = 100
_MAX_LINES = 10


class IssueKind(Enum):
    REFUSED = "refused"
    UNKNOWN = "unknown"
    DUPLICATE = "duplicate"
    WARNING = "warning"


class _Issue(Struct):
    kind: IssueKind
    text: str
    count: int
    lines: list[int]

    def summary(self) -> str:
        lines = ", ".join(map(str, self.lines))
        more = ", …" if self.count > len(self.lines) else ""
        return f"{self.count:,} rows ({self.kind.value}; lines {lines}{more}): {self.text}"


class RowIssues:
    """Groups messages about rows, so that memory does not grow with their number.

    Args:
        name: Name of the file in messages.
        results: The results file, if there is one.
        progress: Prints the first row of each group immediately.
    """

    def __init__(self, name: str, results: str | None, progress: Progress) -> None:
        self._name = name
        self._results = results
        self._progress = progress
        self._issues: dict[Hashable, _Issue] = {}
        self._others: Counter[IssueKind] = Counter()
        self._keys: list[tuple[int, str]] = []

    def say(self, text: str) -> None:
        """Print a message that is not about a row."""
        self._progress.say(text)

    def add(self, kind: IssueKind, line: int, text: str, group: Hashable = None) -> None:
        """Report a row.

        Args:
            kind: What happened to the row.
            line: Its line number.
            text: The reason.
            group: Equal for rows with the same reason; by default the text.
        """
        group = (kind, text if group is None else group)
        issue = self._issues.get(group)
        if issue is not None:
            issue.count += 1
            insort(issue.lines, line)
            del issue.lines[_MAX_LINES:]
            return
        printed = len(self._issues)
        if printed == _MAX_REASONS:
            self._others[kind] += 1
            return
        self._issues[group] = _Issue(kind, text, 1, [line])
        if printed < _MAX_PRINTED:
            self._progress.say(f"{self._name}, line {line}: {text}")
        elif printed == _MAX_PRINTED:
            where = "" if self._results is None else f" {self._results} has the reason of each row."
            self._progress.say(f"Further reasons are not printed.{where}")

    def add_key(self, line: int, key: str) -> None:
        """Report the key of a row whose outcome is unknown, if no file has it."""
        self._keys.append((line, key))

    def closing_lines(self) -> list[str]:
        """Return lines with the count of each reason, and the keys to repeat rows with."""
        repeated = [issue for issue in self._issues.values() if issue.count > 1]
        lines = [issue.summary() for issue in repeated[:_MAX_PRINTED]]
        lines += [
            f"{count:,} rows ({kind.value}): other reasons" for kind, count in self._others.items()
        ]
        lines += [
            f"{self._name}, line {line}: may be registered, with idempotency_key {key}"
            for line, key in self._keys
        ]
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return the same for ``--json``."""
        reasons: list[dict[str, Any]] = [
            {
                "kind": issue.kind.value,
                "reason": issue.text,
                "count": issue.count,
                "lines": issue.lines,
            }
            for issue in self._issues.values()
        ]
        reasons += [
            {"kind": kind.value, "reason": None, "count": count, "lines": []}
            for kind, count in self._others.items()
        ]
        report: dict[str, Any] = {"reasons": reasons}
        if self._keys:
            report["unknown_rows"] = [
                {"line": line, "idempotency_key": key} for line, key in self._keys
            ]
        return report
