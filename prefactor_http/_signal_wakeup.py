"""Wakes the event loop when a signal arrives.

Python calls the handler of a signal in the main thread, between two instructions. If the signal
arrives when the event loop is about to wait, or in another thread, that is after the next event: in
an idle process, perhaps never. So Python also writes a byte to a pipe that the loop reads.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def signals_wake_event_loop() -> Generator[None, None, None]:
    """Wake the running event loop, if there is one, for each signal that has a Python handler."""
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
