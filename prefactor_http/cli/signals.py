"""Ctrl-C, SIGTERM and SIGHUP: the command stops cleanly and reports what it did."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from prefactor_http.cli import event_loop as _event_loop
from prefactor_http.cli.exit_codes import ExitCode

T = TypeVar("T")

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop.

    Args:
        signum: The signal.

    Attributes:
        name: The signal's name in messages.
        exit_code: The exit code.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        is_ctrl_c = signum == signal.SIGINT
        self.name = "Ctrl-C" if is_ctrl_c else signal.Signals(signum).name
        self.exit_code: int = ExitCode.INTERRUPTED if is_ctrl_c else ExitCode.UNKNOWN


@contextmanager
def on_signals(handler: Callable[[int], object]) -> Generator[None, None, None]:
    """Call a function for each signal that asks the command to stop.

    A signal that the parent process ignores stays ignored, as under ``nohup``.

    Args:
        handler: Called with the signal's number, in the main thread.
    """

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del frame
        handler(signum)

    previous: dict[int, Any] = {}
    for name in _SIGNALS:
        signum = getattr(signal, name, None)  # Windows has no SIGHUP
        if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
            previous[signum] = signal.signal(signum, on_signal)
    try:
        yield
    finally:
        for signum, action in previous.items():
            signal.signal(signum, action)


def raise_stopped(signum: int) -> NoReturn:
    """Raise `Stopped`; a handler for `on_signals`."""
    raise Stopped(signum)


def run_until_stopped(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a new event loop; a signal cancels it.

    Raises:
        Stopped: A signal arrived before the coroutine finished.
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
