"""The spans of an instance as a tree.

Spans may nest thousands of levels deep, so nothing here recurses. From `_MAX_LEVELS` on, a span is
indented no further: its level is printed in brackets. Of many siblings, the first and the last are
printed, with the number of the others between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from prefactor_http.cli.durations import time_taken
from prefactor_http.cli.escape import escape
from prefactor_http.cli.table import Column, Line, Screen, table
from prefactor_http.models.agent_span import AgentSpan

_MAX_SIBLINGS = 20
_FIRST, _LAST = 10, 5
_COLUMNS_PER_LEVEL = 8  # of the screen, so that names keep most of it
_WIDTH = 120  # without a terminal
_COLUMNS = (
    Column("", min_width=16),
    Column("", is_status=True),
    Column("", is_number=True),
)


class _Guides(NamedTuple):
    child: str
    last_child: str
    line: str
    more: str


_UNICODE = _Guides("├─ ", "└─ ", "│  ", "…")
_ASCII = _Guides("|- ", "`- ", "|  ", "...")


class _Node(NamedTuple):
    span: AgentSpan | None  # None for hidden siblings
    hidden: Sequence[AgentSpan]
    level: int
    prefix: str
    is_last: bool


class SpanTree:
    """Prints spans as a tree.

    Args:
        spans: All spans of an instance.
        now: The current time, for the duration of open spans.
        screen: Where it is printed.
        is_complete: Whether to print every span, however many siblings it has.

    Attributes:
        hidden: Number of spans that were left out by `lines`.
    """

    def __init__(
        self, spans: Iterable[AgentSpan], now: datetime, screen: Screen, *, is_complete: bool
    ) -> None:
        self.hidden: int = 0
        self._spans = {span.id: span for span in spans}
        self._now = now
        self._screen = screen
        self._is_complete = is_complete
        self._guides = _UNICODE if screen.is_unicode else _ASCII
        self._max_levels = max((screen.width or _WIDTH) // _COLUMNS_PER_LEVEL, 2)
        self._children: dict[str | None, list[AgentSpan]] = {}
        for span in self._spans.values():
            # A parent that is not in the list cannot be shown: its children are roots.
            parent = span.parent_span_id if span.parent_span_id in self._spans else None
            self._children.setdefault(parent, []).append(span)
        self._add_cycles_to_roots()
        for children in self._children.values():
            children.sort(key=self._order)

    def lines(self) -> list[Line]:
        """Return a line for each span, or for each group of hidden ones."""
        rows: list[tuple[str, str, str]] = []
        stack = self._nodes(None, 0, "")
        while stack:
            node = stack.pop()
            rows.append(self._row(node))
            if node.span is not None:
                stack += self._nodes(node.span.id, node.level + 1, self._prefix_below(node))
        return table(_COLUMNS, rows, self._screen, has_titles=False)

    def _order(self, span: AgentSpan) -> tuple[bool, float]:
        began = span.started_at or span.inserted_at
        return began is None, 0.0 if began is None else began.timestamp()

    def _add_cycles_to_roots(self) -> None:
        reached = self._below(self._children.get(None, []))
        for span in self._spans.values():
            if span.id not in reached:
                self._children[span.parent_span_id].remove(span)  # breaks the cycle
                self._children.setdefault(None, []).append(span)
                reached |= self._below([span])

    def _below(self, spans: Sequence[AgentSpan]) -> dict[str, AgentSpan]:
        """Return the spans and all that are below them."""
        found = {span.id: span for span in spans}
        stack = list(spans)
        while stack:
            children = self._children.get(stack.pop().id, [])
            found |= {child.id: child for child in children}
            stack += children
        return found

    def _nodes(self, parent: str | None, level: int, prefix: str) -> list[_Node]:
        """Return the children of a span, the last first, as a stack needs them."""
        children = self._children.get(parent, [])
        hidden: Sequence[AgentSpan] = ()
        if len(children) > _MAX_SIBLINGS and not self._is_complete:
            hidden = children[_FIRST:-_LAST]
            children = [*children[:_FIRST], *children[-_LAST:]]
        nodes = [_Node(span, (), level, prefix, span is children[-1]) for span in children]
        if hidden:
            nodes.insert(_FIRST, _Node(None, hidden, level, prefix, is_last=False))
        nodes.reverse()
        return nodes

    def _prefix_below(self, node: _Node) -> str:
        if not 0 < node.level < self._max_levels:
            return node.prefix
        return node.prefix + (" " * len(self._guides.line) if node.is_last else self._guides.line)

    def _row(self, node: _Node) -> tuple[str, str, str]:
        guide = node.prefix
        if node.level:
            guide += self._guides.last_child if node.is_last else self._guides.child
        if node.level >= self._max_levels:
            guide += f"[{node.level}] "
        span = node.span
        if span is None:
            return f"{guide}{self._guides.more} {self._summary(node.hidden)}", "", ""
        taken = time_taken(span.started_at, span.finished_at, self._now)
        return guide + escape(span.schema_name), escape(span.status), taken

    def _summary(self, hidden: Sequence[AgentSpan]) -> str:
        statuses = Counter(escape(span.status) for span in self._below(hidden).values())
        total = statuses.total()
        self.hidden += total
        counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        return f"{total} more: {counts}"
