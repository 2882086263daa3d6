"""Checks of numbers that callers pass. Messages say what is wrong and what is allowed."""

from __future__ import annotations

import math
import operator
from numbers import Real


def integer(value: int, name: str, minimum: int, maximum: int | None = None) -> int:
    """Check an integer. A numpy integer or an enum member becomes a plain int.

    Raises:
        TypeError: The value is not an integer.
        ValueError: The value is out of range.
    """
    return _integer(value, name, minimum, maximum, "")


def optional_integer(
    value: int | None, name: str, minimum: int, maximum: int | None = None
) -> int | None:
    """Check an integer or None, like `integer`."""
    return None if value is None else _integer(value, name, minimum, maximum, " or None")


def seconds(
    value: float, name: str, *, may_be_zero: bool = False, may_be_infinite: bool = False
) -> float:
    """Check a duration.

    Raises:
        TypeError: The value is not a number.
        ValueError: The value is out of range.
    """
    return _seconds(value, name, "", may_be_zero=may_be_zero, may_be_infinite=may_be_infinite)


def optional_seconds(
    value: float | None, name: str, *, may_be_infinite: bool = False
) -> float | None:
    """Check a duration or None, like `seconds`."""
    if value is None:
        return None
    return _seconds(value, name, " or None", may_be_zero=False, may_be_infinite=may_be_infinite)


def _integer(value: object, name: str, minimum: int, maximum: int | None, or_none: str) -> int:
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] # raises
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} must be an int{or_none}, not {type(value).__name__}")
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"from {minimum} to {maximum}" if maximum is not None else f"at least {minimum}"
        raise ValueError(f"{name} must be {bounds}{or_none}, got {number}")
    return number


def _seconds(
    value: object, name: str, or_none: str, *, may_be_zero: bool, may_be_infinite: bool
) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of seconds{or_none}, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    is_in_range = number >= 0 if may_be_zero else number > 0  # false for NaN
    if not is_in_range or (number == math.inf and not may_be_infinite):
        kind = "a number" if may_be_infinite else "a finite number"
        bound = ", 0 or more" if may_be_zero else " greater than 0"
        raise ValueError(f"{name} must be {kind} of seconds{bound}{or_none}, got {value}")
    return number
