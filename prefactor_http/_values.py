"""Plain values from what callers pass: subclasses, enums, and values of numpy, pandas and pydantic.

No library is imported for this: a value is recognized by its base class, or by the method that its
library gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from msgspec import UNSET

# Kinds of numpy and pandas data whose `tolist` gives plain values; datetime64 is none of them, as
# it gives nanoseconds as an int.
_PLAIN_KINDS = frozenset("biufUO")


def as_text(value: object) -> str | None:
    """Give a text as an exact str.

    Args:
        value: A str, an instance of a subclass, or an enum member whose value is one.

    Returns:
        The text, or None where the value is no text.
    """
    if type(value) is str:
        return value
    if isinstance(value, Enum):
        value = value.value
    return str.__str__(value) if isinstance(value, str) else None


def is_missing(value: object) -> bool:
    """Tell whether a value stands for nothing: None, UNSET, blank text, NaN, ``pandas.NA``."""
    if value is None or value is UNSET:
        return True
    text = as_text(value)
    if text is not None:
        return not text or text.isspace()
    return not isinstance(value, (bool, int, dict, list)) and is_nan(value)


def is_nan(value: object) -> bool:
    """Tell whether a value is NaN, or one of pandas' missing values."""
    try:
        return bool(value != value)  # noqa: PLR0124 # which holds for NaN and NaT alone
    except (TypeError, ValueError, ArithmeticError):
        # pandas.NA is neither equal to itself nor not; an array has no single answer.
        return type(value).__name__ == "NAType"


def iso(moment: datetime) -> str:
    """Write a moment as text, to the microsecond; UTC is written as ``Z``.

    `datetime.isoformat` itself: what a subclass puts in its place may write more digits.
    """
    text = datetime.isoformat(moment)
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def plain(value: object) -> Any:
    """Give what stands for a value that msgspec does not encode.

    It is the encoder's hook, which is called for values and for the keys of dicts: never for a
    value that is plain, for a key that is None or a bool.

    Args:
        value: The value.

    Returns:
        Something to encode in its place, which may need the hook again.

    Raises:
        TypeError: The value has no JSON form.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert(value)
    stand_in = _stand_in(value)
    if stand_in is None:
        raise TypeError(f"neither a value nor a key may be of type {name_of(type(value))}")
    return stand_in


def name_of(kind: type) -> str:
    """Name a type for a message, with its module: many libraries have one of the same name."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _moment(value: datetime) -> str | float:
    return float("nan") if is_nan(value) else iso(value)


def _duration(value: timedelta) -> timedelta:
    return timedelta(value.days, value.seconds, value.microseconds)


# The methods of the bases themselves, whatever a subclass puts in their place.
_BASES: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (datetime, _moment),
    (date, date.isoformat),
    (time, time.isoformat),
    (timedelta, _duration),
    (Decimal, str),
    (UUID, str),
    (bytes, bytes),
)


def _stand_in(value: object) -> object:
    """Give what stands for an object of a library; None where there is nothing."""
    # A dict comes here as the key of another one, which it cannot be; a class has no value.
    if isinstance(value, (dict, type)):
        return None
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    thing: Any = value
    # Asked of the class: an object that answers to any name has no end of stand-ins.
    if callable(getattr(type(value), "model_dump", None)):
        return thing.model_dump(exclude_none=True)
    if getattr(getattr(thing, "dtype", None), "kind", None) in _PLAIN_KINDS:
        numbers = thing.tolist()
        return None if type(numbers) is type(value) else numbers
    # NaN is encoded as null, and reported.
    return float("nan") if is_nan(value) else None
