"""Checks of functions that callers pass."""

from __future__ import annotations

import inspect


def check_function(function: object, name: str) -> None:
    """Check an optional function that is called without ``await``.

    Raises:
        TypeError: It is neither callable nor None.
        ValueError: It is a coroutine function, whose coroutine would never run.
    """
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a function or None, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"{name} must be a plain function, not a coroutine function")
