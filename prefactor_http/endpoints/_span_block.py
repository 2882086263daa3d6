"""Finds the parent of a new span: the innermost open span around the running code.

A context variable holds the innermost block, so tasks inherit it. Blocks do not always end in the
reverse order of their start: callbacks start and end blocks, tasks overlap, and a block in an async
generator ends when the generator is closed. Therefore each block refers to its enclosing block, and
blocks that have ended are skipped.
"""

from __future__ import annotations

import asyncio
import inspect
from contextvars import ContextVar

# The loop closes an abandoned async generator in a task: one iteration to create it, one to run it.
_ITERATIONS_UNTIL_CLOSED = 2


class SpanBlock:
    """A block of code that is recorded as a span, created when the block is entered.

    Args:
        run: The run of the span. Its parent belongs to the same run.

    Attributes:
        span_id: Id of the span, once it exists.
        enclosing: The block around this one.
        is_in_generator: Whether the block is in an async generator.
        has_ended: Whether the block has ended.
    """

    def __init__(self, run: object) -> None:
        self.run = run
        self.span_id: str | None = None
        self.enclosing = _nearest_open(_innermost.get())
        self.is_in_generator = _is_in_generator()
        self.has_ended = False

    async def find_parent(self) -> str | None:
        """Return the id of the innermost open span of the same run around the block."""
        in_generators = 0
        block = self.enclosing
        while block is not None:
            in_generators += block.is_in_generator
            block = _nearest_open(block.enclosing)
        # A generator that was abandoned inside its block may not be closed yet.
        for _ in range(in_generators * _ITERATIONS_UNTIL_CLOSED):
            await asyncio.sleep(0)
        block = _nearest_open(self.enclosing)
        while block is not None and block.run is not self.run:
            block = _nearest_open(block.enclosing)
        return None if block is None else block.span_id

    def begin(self, span_id: str) -> None:
        self.span_id = span_id
        _innermost.set(self)

    def end(self) -> None:
        self.has_ended = True
        self.enclosing = _nearest_open(self.enclosing)  # keep no chain of ended blocks
        _innermost.set(_nearest_open(_innermost.get()))


_innermost: ContextVar[SpanBlock | None] = ContextVar("prefactor_http_span", default=None)


def _nearest_open(block: SpanBlock | None) -> SpanBlock | None:
    while block is not None and block.has_ended:
        block = block.enclosing
    return block


def _is_in_generator() -> bool:
    frame = inspect.currentframe()
    while frame is not None and not frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
        frame = frame.f_back
    return frame is not None
