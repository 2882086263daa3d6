"""Installs signal handlers that run at once, also while the event loop waits.

Python calls the handler of a signal in the main thread, between two instructions. If the signal
arrives when the event loop is about to wait, or in another thread, that is after the next event: in
an idle process, perhaps never. So Python also writes a byte to a pipe that the loop reads.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any


@contextmanager
def signal_handlers(
    signals: Iterable[int], handler: Callable[[int, FrameType | None], object]
) -> Generator[list[Any], None, None]:
    """Handle signals in a block, and wake the running event loop for them, if there is one.

    Signals that the process ignores stay ignored, as under ``nohup``.

    Args:
        signals: The signals.
        handler: Called with the signal's number, in the main thread.

    Yields:
        The handlers that were replaced. At the end of the block, they are restored.

    Raises:
        ValueError: Not in the main thread.
    """
    with ExitStack() as stack:
        stack.enter_context(_signals_wake_event_loop())
        replaced: list[Any] = []
        for each in signals:
            previous = signal.getsignal(each)
            if previous is not signal.SIG_IGN:
                signal.signal(each, handler)
                # None: the handler was not installed from Python, and cannot be restored.
                restored = signal.SIG_DFL if previous is None else previous
                stack.callback(signal.signal, each, restored)
                replaced.append(previous)
        yield replaced


@contextmanager
def _signals_wake_event_loop() -> Generator[None, None, None]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    previous = signal.set_wakeup_fd(-1)
    # uvloop and the event loops of Windows wake themselves.
    if loop is None or previous != -1 or sys.platform == "win32":
        signal.set_wakeup_fd(previous)
        yield
        return
    reading, writing = os.pipe()
    try:
        for end in (reading, writing):
            os.set_blocking(end, False)
        loop.add_reader(reading, os.read, reading, 4096)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield
        finally:
            current = signal.set_wakeup_fd(-1)
            if current != writing:  # `loop.add_signal_handler` was called
                signal.set_wakeup_fd(current)
            loop.remove_reader(reading)
    finally:
        os.close(reading)
        os.close(writing)
