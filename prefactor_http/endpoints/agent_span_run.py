"""A block of code, recorded as a span of a running agent instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from prefactor_http.endpoints._span_block import SpanBlock
from prefactor_http.endpoints._to_the_end import to_the_end
from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.models.agent_span import AgentSpan

if TYPE_CHECKING:
    from types import TracebackType

    from prefactor_http.endpoints.agent_instance_run import AgentInstanceRun
    from prefactor_http.models.types import FinishStatus


class AgentSpanRun:
    """The context manager of `AgentInstanceRun.span`, and the handle that it yields.

    Attributes:
        run: The run that it belongs to.
        span: The span, as the API last told; set once the block is entered.
        result_payload: What came out of the step; the block sets it.
        finish_status: How the span ends when the block does not raise; the block may set it.
    """

    def __init__(
        self,
        run: AgentInstanceRun,
        schema_name: str,
        payload: dict[str, Any] | None,
        id: str | None,
        parent_span_id: str | None,
    ) -> None:
        self.span: AgentSpan | None = None
        self.result_payload: dict[str, Any] | None = None
        self.finish_status: FinishStatus = "complete"
        self.run = run
        self._schema_name = schema_name
        self._payload = payload
        self._id = id
        self._parent_span_id = parent_span_id
        self._block: SpanBlock

    @property
    def id(self) -> str:
        """The span's id."""
        if self.span is None:
            raise RuntimeError("the span does not exist yet: use it as `async with run.span(...)`")
        return self.span.id

    async def __aenter__(self) -> Self:
        if self.span is not None:
            raise RuntimeError("a span can be entered once")
        self._block = SpanBlock(self.run)
        if self._parent_span_id is None:
            self._parent_span_id = await self._block.find_parent()
        self.span = await self.run.calls.spans.create(
            self.run.id,
            self._schema_name,
            "active",
            payload=self._payload,
            id=self._id,
            parent_span_id=self._parent_span_id,
            started_at=self.run.next_timestamp(),
            control_signal_callback=self.run.note_termination,
        )
        self._block.begin(self.span.id)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._block.end()
        await to_the_end(self._end_well() if exc is None else self._end_failed(exc))

    async def _end_well(self) -> None:
        try:
            await self._end()
        except (TypeError, ValueError) as exc:  # the result is no JSON
            self.result_payload = None
            await self._end_failed(exc)
            raise

    async def _end(self, status: FinishStatus | None = None) -> None:
        self.span = await self.run.last_calls.spans.finish(
            self.id,
            status or self.finish_status,
            self.result_payload,
            self.run.next_timestamp(),
            control_signal_callback=self.run.note_termination,
        )

    async def _end_failed(self, exc: BaseException) -> None:
        """Finish after an exception, which must stay the one that comes out."""
        try:
            try:
                await self._end("failed")
            except (TypeError, ValueError) as problem:  # the result is no JSON: without it, then
                exc.add_note(f"span {self.id} was finished without its result: {problem}")
                self.result_payload = None
                await self._end("failed")
        except PrefactorHttpError as problem:
            exc.add_note(f"span {self.id} was not finished failed: {problem}")
