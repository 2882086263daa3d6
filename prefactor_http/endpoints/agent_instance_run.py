"""Records a block of code as an agent instance, and blocks within it as spans."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from prefactor_http._http.background import BackgroundTasks
from prefactor_http._http.clock import Clock
from prefactor_http.endpoints._shield import run_shielded
from prefactor_http.endpoints._span_block import SpanBlock
from prefactor_http.endpoints.agent_span import AgentSpanClient
from prefactor_http.exceptions import (
    PrefactorConflictError,
    PrefactorHttpError,
    is_permanent_http_error,
)
from prefactor_http.models.agent_instance import AgentInstance
from prefactor_http.models.agent_span import AgentSpan

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from prefactor_http.models.types import FinishStatus

T = TypeVar("T")

_log = logging.getLogger("prefactor_http")

# How long the instance of a run that is not recorded is looked for, and how often, in seconds.
_CANCEL_TIMEOUT = 60.0
_FIRST_DELAY, _MAX_DELAY = 0.5, 10.0


class InstanceCalls(Protocol):
    """The calls of `AgentInstanceClient` that a run makes."""

    async def start(
        self, agent_instance_id: str, timestamp: datetime | None = None
    ) -> AgentInstance: ...

    async def finish(
        self,
        agent_instance_id: str,
        status: FinishStatus | None = None,
        timestamp: datetime | None = None,
    ) -> AgentInstance: ...

    async def get(self, agent_instance_id: str) -> AgentInstance: ...


class AgentInstanceRun:
    """The context manager of `AgentInstanceClient.run`, and the handle that it yields.

    Attributes:
        finish_status: Final status if the block does not raise. The block may change it.
        termination_reason: Reason of the termination, if one was given.
        finish_timeout: Seconds that finishing may take.
    """

    def __init__(
        self,
        register: Callable[[], Awaitable[AgentInstance]],
        idempotency_key: str,
        given_id: str | None,
        instances: InstanceCalls,
        spans: AgentSpanClient,
        closing_instances: InstanceCalls,
        closing_spans: AgentSpanClient,
        clock: Clock,
        finish_timeout: float,
        poll_interval: float | None,
        start_timeout: float | None,
        background: BackgroundTasks,
    ) -> None:
        self._instance: AgentInstance | None = None
        self.finish_status: FinishStatus = "complete"
        self.termination_reason: str | None = None
        self.spans = spans
        self.closing_spans = closing_spans
        self._instances = instances
        self._closing_instances = closing_instances
        self._register = register
        self._idempotency_key = idempotency_key
        self._given_id = given_id
        self._clock = clock
        self._latest: datetime | None = None
        self.finish_timeout = finish_timeout
        self._poll_interval = poll_interval
        self._termination = asyncio.Event()
        self._poll: asyncio.Task[None] | None = None
        self._start_timeout = start_timeout
        self._background = background
        self._goes_unrecorded = False

    @property
    def instance(self) -> AgentInstance:
        """The instance as of the last response.

        Raises:
            RuntimeError: The block has not been entered, or the run is not recorded.
        """
        if self._goes_unrecorded:
            raise RuntimeError(
                "the run has no instance, because it could not be started: check run.recorded"
            )
        if self._instance is None:
            raise RuntimeError("the run has no instance yet: use it as `async with run(...)`")
        return self._instance

    @property
    def id(self) -> str:
        """Id of the instance; empty if the run is not recorded.

        Raises:
            RuntimeError: The block has not been entered.
        """
        return "" if self._goes_unrecorded else self.instance.id

    @property
    def required(self) -> bool:
        """Whether the block needs the record, as `AgentInstanceClient.run` was called."""
        return self._start_timeout is None

    @property
    def recorded(self) -> bool:
        """Whether the run has an instance. Only False in a block with ``required=False``."""
        return self._instance is not None

    @property
    def terminated(self) -> bool:
        """Whether the instance was terminated. If so, the block should end."""
        return self._termination.is_set()

    async def wait_until_terminated(self) -> None:
        """Wait until the instance is terminated."""
        await self._termination.wait()

    def span(
        self,
        schema_name: str,
        payload: Mapping[str, object] | None = None,
        *,
        id: str | None = None,
        parent_span_id: str | None = None,
    ) -> AgentSpanRun:
        """Record a block as a span: ``async with run.span("tool", {...}) as span``.

        Entering the block creates the span as ``active``. Leaving it finishes the span as
        ``complete`` with ``span.result_payload``, or as ``failed`` if the block raises or its task
        is cancelled. The parent is the innermost open span around the block, also in tasks that
        were started there.

        Args:
            schema_name: Name of the span type in the instance's schema version.
            payload: Input of the step; an empty object by default.
            id: Id of the span, from `idempotency.new_id`; by default the API generates it.
            parent_span_id: Parent of the span; by default the span around the block.

        Returns:
            An async context manager. It yields the handle of the span.
        """
        return AgentSpanRun(self, schema_name, payload, id, parent_span_id)

    def note_termination(self, reason: str | None) -> None:
        """Record that the instance was terminated."""
        self.termination_reason = self.termination_reason or reason
        self._termination.set()

    def next_timestamp(self) -> datetime:
        """Return the current time, or the latest timestamp of the run if the clock was set back."""
        now = self._clock.utcnow()
        self._latest = now if self._latest is None else max(now, self._latest)
        return self._latest

    async def __aenter__(self) -> Self:
        if self._instance is not None or self._goes_unrecorded:
            raise RuntimeError("a run can be entered only once")
        if self._start_timeout is not None:
            return await self._enter_unless_it_fails(self._start_timeout)
        self._instance = await self._register_shielded()
        try:
            self._instance = await self._instances.start(self.id, self.next_timestamp())
        except BaseException as exc:
            await run_shielded(self._abandon(exc))
            raise
        self._start_polling()
        return self

    def _start_polling(self) -> None:
        if self._poll_interval is not None:
            self._poll = asyncio.create_task(self._poll_termination(self._poll_interval))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._goes_unrecorded:
            return
        if self._poll is not None:
            self._poll.cancel()
        if not self.required:
            await run_shielded(self._end_or_log(self.finish_status if exc is None else "failed"))
            return
        await run_shielded(
            self._end(self.finish_status) if exc is None else self._end_failed("failed", exc)
        )

    async def _register_shielded(self) -> AgentInstance:
        # In a separate task: if this one is cancelled, the response still contains the id.
        registration = asyncio.ensure_future(self._register())
        try:
            return await asyncio.shield(registration)
        except asyncio.CancelledError as exc:
            await run_shielded(self._cancel_registration(registration, exc))
            raise
        finally:
            del registration  # otherwise an error and this frame would refer to each other

    async def _enter_unless_it_fails(self, start_timeout: float) -> Self:
        """Register and start; if that fails, let the block run without a record."""
        registration = asyncio.ensure_future(self._register())
        try:
            async with asyncio.timeout(start_timeout):
                self._instance = await asyncio.shield(registration)
                self._instance = await self._instances.start(self.id, self.next_timestamp())
        except asyncio.CancelledError as exc:
            if self._instance is None:
                await run_shielded(self._cancel_registration(registration, exc))
            else:
                await run_shielded(self._abandon(exc))
            raise
        except (TypeError, ValueError):
            raise  # an invalid argument
        except Exception as exc:  # noqa: BLE001 # whatever it is, the work comes first
            self._go_unrecorded(registration, exc)
        else:
            self._start_polling()
        finally:
            del registration  # otherwise an error and this frame would refer to each other
        return self

    def _go_unrecorded(
        self, registration: asyncio.Future[AgentInstance], problem: Exception
    ) -> None:
        instance, self._instance = self._instance, None
        self._goes_unrecorded = True
        _log.warning(
            "the run is not recorded: %s",
            f"not started within {self._start_timeout:g} s (start_timeout)"
            if type(problem) is TimeoutError
            else problem,
        )
        # The registration may still be in progress.
        if instance is not None or type(problem) is TimeoutError or _may_be_applied(problem):
            self._background.start(self._cancel_late(registration, instance))

    async def _cancel_late(
        self, registration: Awaitable[AgentInstance], instance: AgentInstance | None
    ) -> None:
        """Cancel the instance of a run that is not recorded, if there is one or one appears.

        A register whose outcome is unknown is repeated with the same key, so that its instance
        becomes known.
        """
        problem = f"not completed within {_CANCEL_TIMEOUT:g} s"
        may_exist = instance is not None
        delay = _FIRST_DELAY
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                while True:
                    try:
                        if instance is None:
                            instance = await registration
                        await self._finish_late(instance.id)
                    except PrefactorHttpError as error:
                        may_exist = may_exist or instance is not None or error.outcome_unknown
                        if not may_exist:
                            return
                        problem = str(error)
                        if is_permanent_http_error(error):
                            break
                    else:
                        _log.info("agent instance %s was cancelled: it is not used", instance.id)
                        return
                    await self._clock.sleep(delay)
                    delay = min(2 * delay, _MAX_DELAY)
                    if instance is None:
                        registration = self._register()
        except asyncio.CancelledError:
            _log.warning("%s", self._pending_message(instance, "the client was closed"))
            raise
        except Exception as error:  # noqa: BLE001 # nobody awaits this task
            problem = str(error) or problem
        _log.warning("%s", self._pending_message(instance, problem))

    async def _finish_late(self, instance_id: str) -> None:
        try:
            await self._closing_instances.finish(instance_id, "cancelled", self.next_timestamp())
        except PrefactorConflictError:  # the start was applied
            await self._closing_instances.finish(instance_id, "failed", self.next_timestamp())

    async def _cancel_registration(
        self, registration: asyncio.Future[AgentInstance], exc: asyncio.CancelledError
    ) -> None:
        """Cancel the instance that a cancelled registration may still create."""

        async def end(instance: AgentInstance) -> None:
            await self._closing_instances.finish(instance.id, "cancelled", self.next_timestamp())

        await _end_interrupted(registration, end, exc, self._pending_message, self.finish_timeout)

    def _pending_message(self, instance: AgentInstance | None, problem: str) -> str:
        instance_id = self._given_id if instance is None else instance.id
        name = "an agent instance" if instance_id is None else f"agent instance {instance_id}"
        return f"{name} may be left pending (idempotency key {self._idempotency_key}): {problem}"

    async def _poll_termination(self, interval: float) -> None:
        """Poll, because only responses to span calls carry the signal (contract §8.1)."""
        while not self.terminated:
            await self._clock.sleep(interval)
            try:
                self._record_termination(await self._instances.get(self.id))
            except PrefactorHttpError as problem:
                _log.debug("could not read agent instance %s: %s", self.id, problem)

    def _record_termination(self, instance: AgentInstance) -> None:
        if instance.status == "terminated":
            self._instance = instance
            self.note_termination(instance.termination_reason)

    async def _end(self, status: FinishStatus) -> None:
        if self._poll is not None:
            await asyncio.wait([self._poll])
        if self.terminated:
            return  # a terminated instance cannot be finished
        try:
            self._instance = await self._closing_instances.finish(
                self.id, status, self.next_timestamp()
            )
        except PrefactorConflictError:
            with suppress(PrefactorHttpError):  # the conflict is the better error
                self._record_termination(await self._closing_instances.get(self.id))
            if not self.terminated:
                raise

    async def _end_failed(self, status: FinishStatus, exc: BaseException) -> None:
        """Finish after an exception, which is raised whatever happens here."""
        try:
            await self._end(status)
        except PrefactorHttpError as problem:
            exc.add_note(f"agent instance {self.id} was not finished {status}: {problem}")
            _log.warning("agent instance %s was not finished %s: %s", self.id, status, problem)

    async def _end_or_log(self, status: FinishStatus) -> None:
        try:
            await self._end(status)
        except Exception as problem:  # noqa: BLE001 # the work comes first
            _log.warning("agent instance %s was not finished %s: %s", self.id, status, problem)

    async def _abandon(self, exc: BaseException) -> None:
        """End an instance whose start failed or has an unknown outcome."""
        try:
            await self._end("cancelled")
        except PrefactorConflictError:
            await self._end_failed("failed", exc)
        except PrefactorHttpError as problem:
            exc.add_note(f"agent instance {self.id} was not cancelled: {problem}")
            _log.warning("agent instance %s was not cancelled: %s", self.id, problem)


class AgentSpanRun:
    """The context manager of `AgentInstanceRun.span`, and the handle that it yields.

    Attributes:
        run: The run of the span.
        span: The span as of the last response; None before the block is entered, and if the span
            is not recorded.
        result_payload: Result of the step, set by the block.
        finish_status: Final status if the block does not raise. The block may change it.
    """

    def __init__(
        self,
        run: AgentInstanceRun,
        schema_name: str,
        payload: Mapping[str, object] | None,
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
        self._goes_unrecorded = False
        self._block: SpanBlock

    @property
    def id(self) -> str:
        """Id of the span; empty if the span is not recorded."""
        if self._goes_unrecorded:
            return ""
        if self.span is None:
            raise RuntimeError("the span does not exist yet: use it as `async with run.span(...)`")
        return self.span.id

    async def __aenter__(self) -> Self:
        if self.span is not None or self._goes_unrecorded:
            raise RuntimeError("a span can be entered only once")
        if not self.run.required:
            return await self._enter_unless_it_fails()
        await self._create()
        return self

    async def _enter_unless_it_fails(self) -> Self:
        self._goes_unrecorded = not self.run.recorded
        if self._goes_unrecorded:
            return self
        try:
            await self._create()
        except (TypeError, ValueError):
            raise  # an invalid argument
        except Exception as problem:  # noqa: BLE001 # the work comes first
            self._goes_unrecorded = True
            _log.warning("a span %r is not recorded: %s", self._schema_name, problem)
        return self

    async def _create(self) -> None:
        self._block = SpanBlock(self.run)
        if self._parent_span_id is None:
            self._parent_span_id = await self._block.find_parent()
        # In a separate task, as the register: a cancelled block would leave the span active.
        creation = asyncio.ensure_future(
            self.run.spans.create(
                self.run.id,
                self._schema_name,
                "active",
                payload=self._payload,
                id=self._id,
                parent_span_id=self._parent_span_id,
                started_at=self.run.next_timestamp(),
                control_signal_callback=self.run.note_termination,
            )
        )
        try:
            span = await asyncio.shield(creation)
        except asyncio.CancelledError as exc:
            await run_shielded(self._end_interrupted(creation, exc))
            raise
        finally:
            del creation  # otherwise an error and this frame would refer to each other
        self.span = span
        self._block.begin(span.id)

    async def _end_interrupted(
        self, creation: asyncio.Future[AgentSpan], exc: asyncio.CancelledError
    ) -> None:
        """Finish the span that a cancelled block may still create."""

        async def end(span: AgentSpan) -> None:
            await self.run.closing_spans.finish(span.id, "failed", None, self.run.next_timestamp())

        await _end_interrupted(creation, end, exc, self._active_message, self.run.finish_timeout)

    def _active_message(self, span: AgentSpan | None, problem: str) -> str:
        span_id = self._id if span is None else span.id
        name = f"a span {self._schema_name!r}" if span_id is None else f"span {span_id}"
        return f"{name} may be left active: {problem}"

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._goes_unrecorded:
            return
        self._block.end()
        if not self.run.required:
            await run_shielded(self._end_or_log(exc))
            return
        await run_shielded(self._end_well() if exc is None else self._end_failed(exc))

    async def _end_or_log(self, exc: BaseException | None) -> None:
        try:
            await (self._end_well() if exc is None else self._end_after_error(exc))
        except Exception as problem:  # noqa: BLE001 # the work comes first
            _log.warning("span %s was not finished: %s", self.id, problem)

    async def _end_well(self) -> None:
        try:
            await self._end()
        except (TypeError, ValueError) as exc:  # the result has no JSON form
            self.result_payload = None
            await self._end_failed(exc)
            raise

    async def _end(self, status: FinishStatus | None = None) -> None:
        self.span = await self.run.closing_spans.finish(
            self.id,
            status or self.finish_status,
            self.result_payload,
            self.run.next_timestamp(),
            control_signal_callback=self.run.note_termination,
        )

    async def _end_failed(self, exc: BaseException) -> None:
        """Finish after an exception, which is raised whatever happens here."""
        try:
            await self._end_after_error(exc)
        except PrefactorHttpError as problem:
            exc.add_note(f"span {self.id} was not finished failed: {problem}")

    async def _end_after_error(self, exc: BaseException) -> None:
        try:
            await self._end("failed")
        except (TypeError, ValueError) as problem:  # the result has no JSON form
            exc.add_note(f"span {self.id} was finished without its result: {problem}")
            self.result_payload = None
            await self._end("failed")


async def _end_interrupted(
    creation: asyncio.Future[T],
    end: Callable[[T], Awaitable[None]],
    exc: asyncio.CancelledError,
    message: Callable[[T | None, str], str],
    finish_timeout: float,
) -> None:
    """Wait for what a cancelled block has begun to create, and end it.

    Args:
        creation: The call that creates it. It is cancelled after the time limit.
        end: Ends it.
        exc: The cancellation of the block. It gets a note if the end is not known.
        message: Says that it may be left as it is, and why. Called with None if it may exist.
        finish_timeout: Seconds that this may take.
    """
    created: T | None = None

    def report(problem: str) -> None:
        text = message(created, problem)
        exc.add_note(text)
        _log.warning("%s", text)

    def report_interrupted(cancellation: BaseException | None, problem: str) -> None:
        # The exception of a cancelled call says whether it may have been applied.
        if created is not None or getattr(cancellation, "outcome_unknown", True):
            report(problem)

    try:
        async with asyncio.timeout(finish_timeout):
            created = await creation
            await end(created)
    except PrefactorHttpError as error:
        if created is not None or error.outcome_unknown:
            report(str(error))
    except TimeoutError as error:
        problem = f"not completed within {finish_timeout:g} s (finish_timeout)"
        report_interrupted(error.__cause__, problem)
    except asyncio.CancelledError as error:  # by an event loop that shuts down
        report_interrupted(error, "cancelled")
        raise
    except (TypeError, ValueError):
        pass  # an invalid argument: nothing was sent


def _may_be_applied(error: Exception) -> bool:
    return not isinstance(error, PrefactorHttpError) or error.outcome_unknown


__all__ = ["AgentInstanceRun", "AgentSpanRun"]
