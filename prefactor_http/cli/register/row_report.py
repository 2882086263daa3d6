"""Reports rows that are not registered: each reason once, with its count, however many rows."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Hashable
from enum import Enum
from typing import Any

from msgspec import Struct

from prefactor_http.cli.register.progress import Progress

_MAX_SHOWN = 20
_MAX_REASONS = 100
_MAX_LINES = 10


class Kind(Enum):
    """What a reason is about."""

    REFUSED = "refused"
    UNKNOWN = "unknown"
    DUPLICATE = "duplicate"
    WARNING = "warning"


class _Reason(Struct):
    kind: Kind
    text: str
    count: int
    lines: list[int]

    def summary(self) -> str:
        lines = ", ".join(map(str, self.lines))
        more = ", …" if self.count > len(self.lines) else ""
        return f"{self.count:,} rows ({self.kind.value}; lines {lines}{more}): {self.text}"


class RowReport:
    """Groups what is reported of rows, so that its memory does not grow with their number.

    Args:
        name: What messages call the file.
        results: The file of results, if there is one.
        progress: Where the first row of each group is reported at once.
    """

    def __init__(self, name: str, results: str | None, progress: Progress) -> None:
        self._name = name
        self._results = results
        self._progress = progress
        self._reasons: dict[Hashable, _Reason] = {}
        self._others: Counter[Kind] = Counter()
        self._keys: list[tuple[int, str]] = []

    def say(self, text: str) -> None:
        """Show a message that is not about a row."""
        self._progress.say(text)

    def add(self, kind: Kind, line: int, text: str, group: Hashable = None) -> None:
        """Report a row.

        Args:
            kind: What happened to it.
            line: Its line.
            text: Why.
            group: What rows with the same reason have in common; by default the text.
        """
        group = (kind, text if group is None else group)
        reason = self._reasons.get(group)
        if reason is not None:
            reason.count += 1
            insort(reason.lines, line)
            del reason.lines[_MAX_LINES:]
            return
        shown = len(self._reasons)
        if shown == _MAX_REASONS:
            self._others[kind] += 1
            return
        self._reasons[group] = _Reason(kind, text, 1, [line])
        if shown < _MAX_SHOWN:
            self._progress.say(f"{self._name}, line {line}: {text}")
        elif shown == _MAX_SHOWN:
            where = "" if self._results is None else f" {self._results} has the reason of each row."
            self._progress.say(f"Further reasons are not shown.{where}")

    def add_key(self, line: int, key: str) -> None:
        """Report the key of a row whose outcome is unknown, where no file has it."""
        self._keys.append((line, key))

    def closing_lines(self) -> list[str]:
        """Say how often each reason occurred, and which keys to repeat rows with."""
        repeated = [reason for reason in self._reasons.values() if reason.count > 1]
        lines = [reason.summary() for reason in repeated[:_MAX_SHOWN]]
        lines += [
            f"{count:,} rows ({kind.value}): other reasons" for kind, count in self._others.items()
        ]
        lines += [
            f"{self._name}, line {line}: may be registered, with idempotency_key {key}"
            for line, key in self._keys
        ]
        return lines

    def as_json(self) -> dict[str, Any]:
        """Give the same for machines."""
        reasons: list[dict[str, Any]] = [
            {
                "kind": reason.kind.value,
                "reason": reason.text,
                "count": reason.count,
                "lines": reason.lines,
            }
            for reason in self._reasons.values()
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
