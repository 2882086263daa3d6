"""Ctrl-C, SIGTERM and SIGHUP: the command ends in order, and says what it did."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from prefactor_http.cli import event_loop as _event_loop

T = TypeVar("T")

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_INTERRUPTED = 130  # as shells have it
_UNSETTLED = 3


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end.

    Args:
        signum: The signal.

    Attributes:
        name: What messages call the signal.
        exit_code: The code to exit with.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        self.exit_code = _INTERRUPTED if signum == signal.SIGINT else _UNSETTLED


@contextmanager
def on_signals(react: Callable[[int], object]) -> Generator[None, None, None]:
    """Have a function called for each signal that asks the command to end.

    A signal that the parent process ignores stays ignored, as under ``nohup``.

    Args:
        react: Called with the signal's number, between two steps of the main thread.
    """

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del frame
        react(signum)

    before: dict[int, Any] = {}
    for name in _SIGNALS:
        signum = getattr(signal, name, None)  # Windows has no SIGHUP
        if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
            before[signum] = signal.signal(signum, on_signal)
    try:
        yield
    finally:
        for signum, action in before.items():
            signal.signal(signum, action)


def raise_stopped(signum: int) -> NoReturn:
    """Interrupt whatever runs.

    Raises:
        Stopped: Always.
    """
    raise Stopped(signum)


def run_until_stopped(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in an event loop of its own; a signal cancels it.

    Args:
        main: Makes the coroutine.

    Returns:
        Its result.

    Raises:
        Stopped: A signal came first.
    """
    received: list[int] = []

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 # this is a coroutine

        def cancel(signum: int) -> None:
            received.append(signum)
            loop.call_soon_threadsafe(task.cancel)

        with on_signals(cancel):
            return await main()

    try:
        return _event_loop.run(run)
    except asyncio.CancelledError:
        raise Stopped(received[0]) from None
