"""Ends a worker on SIGTERM so that its instances are finished before the process exits."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Self

from prefactor_http._signals import signal_handlers
from prefactor_http._values.numbers import seconds

_log = logging.getLogger("prefactor_http")


class CancelOnSignal:
    """The context manager of `cancel_on_signal`.

    Attributes:
        signal: The signal that arrived; None if none has.
    """

    def __init__(self, signals: tuple[signal.Signals, ...], grace: float) -> None:
        self.signal: signal.Signals | None = None
        self._signals = signals
        self._grace = grace
        self._handlers = ExitStack()
        self._was_entered = False
        self._has_ended = False
        self._cancellations_before = 0
        self._cancelled: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise RuntimeError("cancel_on_signal can be entered only once")
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("cancel_on_signal must be entered in a task")
        self._was_entered = True
        self._cancellations_before = task.cancelling()
        handler = self._handler(task, asyncio.get_running_loop())
        self._handlers.enter_context(signal_handlers(self._signals, handler))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._has_ended = True
        self._handlers.close()
        if self._timer is not None:
            self._timer.cancel()
        task = self._cancelled
        if task is None:
            return False
        is_only_ours = task.uncancel() <= self._cancellations_before
        return is_only_ours and exc_type is asyncio.CancelledError

    def _handler(
        self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop
    ) -> Callable[[int, FrameType | None], None]:
        # `signal.signal` rather than `loop.add_signal_handler`: it works on every platform and
        # event loop, and the previous handler can be restored.
        def on_signal(number: int, frame: FrameType | None) -> None:
            del frame
            received = signal.Signals(number)
            if self.signal is not None:
                _take_default_action(received)
                return
            self.signal = received
            loop.call_soon_threadsafe(self._cancel, task, received)

        return on_signal

    def _cancel(self, task: asyncio.Task[Any], received: signal.Signals) -> None:
        if self._has_ended:
            return
        _log.info("%s: ending; a second one ends the process immediately", received.name)
        self._cancelled = task
        task.cancel(f"{received.name} received")
        self._timer = task.get_loop().call_later(self._grace, self._expire, received)

    def _expire(self, received: signal.Signals) -> None:
        _log.warning("not ended within %g s of %s", self._grace, received.name)
        _take_default_action(received)


def cancel_on_signal(*signals: signal.Signals | int, grace: float = 20.0) -> CancelOnSignal:
    """Cancel a block of code when a signal arrives, by default SIGTERM.

    Use it as ``async with cancel_on_signal() as stop``. The first signal cancels the task that runs
    the block, as `asyncio.Task.cancel` does. So the ``async with`` blocks in it end: an active run
    is finished as ``failed``, and one that has not started as ``cancelled``. The tasks of an
    `asyncio.TaskGroup` or `asyncio.gather` in the block are cancelled with it; other tasks are not.
    The cancellation ends with the block: the code after it runs, and ``stop.signal`` is the signal.

    A second signal, or the end of the grace period, takes the signal's default action, which ends
    the process immediately. At the end of the block, the previous handlers are restored. Signals
    that the process ignores stay ignored.

    On Windows, no other process can send SIGTERM: pass ``signal.SIGINT`` (Ctrl-C) and
    ``signal.SIGBREAK`` (Ctrl-Break, which supervisors send) there.

    Args:
        signals: The signals; by default SIGTERM.
        grace: Seconds that the block may take to end. Choose less than the supervisor waits before
            it sends SIGKILL, such as ``terminationGracePeriodSeconds`` of Kubernetes (30 seconds).

    Returns:
        An async context manager, for one use in the main thread. Its attribute ``signal`` is the
        signal that arrived, or None.

    Raises:
        TypeError: ``grace`` is not a number, or a signal is not a signal.
        ValueError: ``grace`` is negative or not finite, or a number is not a signal. Entering the
            block raises it outside the main thread.
    """
    grace = seconds(grace, "grace", may_be_zero=True)
    return CancelOnSignal(tuple(map(_signal, signals or (signal.SIGTERM,))), grace)


def _signal(given: signal.Signals | int) -> signal.Signals:
    if not isinstance(given, int):  # pyright: ignore[reportUnnecessaryIsInstance] # as above
        raise TypeError(f"a signal must be a signal.Signals, not {type(given).__name__}")
    return signal.Signals(given)


def _take_default_action(received: signal.Signals) -> None:
    signal.signal(received, signal.SIG_DFL)
    signal.raise_signal(received)


__all__ = ["CancelOnSignal", "cancel_on_signal"]
