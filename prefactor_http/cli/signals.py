"""Ctrl-C, SIGTERM and SIGHUP: the command stops cleanly and reports what it did."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from prefactor_http._signals import signal_handlers
from prefactor_http.cli import event_loop as _event_loop
from prefactor_http.cli.exit_codes import ExitCode

T = TypeVar("T")

# Windows has no SIGHUP.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


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


class _Handler:
    """Calls a function for each signal, and remembers the signals."""

    def __init__(self, function: Callable[[int], object]) -> None:
        self._function = function
        self.received: list[int] = []

    def __call__(self, signum: int, frame: FrameType | None = None) -> None:
        del frame
        self.received.append(signum)
        self._function(signum)


@contextmanager
def on_signals(handler: Callable[[int], object]) -> Generator[None, None, None]:
    """Call a function for each signal that asks the command to stop.

    A signal that the parent process ignores stays ignored, as under ``nohup``. A signal for which
    an outer function has raised an exception that Python ignored, as it does in the callback of a
    weak reference, is handled here.

    Args:
        handler: Called with the signal's number, in the main thread.
    """
    own = _Handler(handler)
    with signal_handlers(_SIGNALS, own) as replaced:
        outer = next((each for each in replaced if isinstance(each, _Handler)), None)
        if outer is not None and outer.received:
            own(outer.received[0])
        yield


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
