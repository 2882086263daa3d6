"""Converts what callers pass to plain values: subclasses, enums, numpy, pandas and pydantic.

None of these libraries is imported. A value is recognized by its base class or by a method of its
library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from msgspec import UNSET

# Kinds of numpy and pandas data whose `tolist` returns plain values. Not datetime64: it returns
# nanoseconds as an int.
_PLAIN_KINDS = frozenset("biufUO")


def as_text(value: object) -> str | None:
    """Convert a str, a subclass of str, or an enum member with such a value to an exact str.

    Returns:
        The text, or None if the value is not text.
    """
    if type(value) is str:
        return value
    if isinstance(value, Enum):
        value = value.value
    return str.__str__(value) if isinstance(value, str) else None


def check_unicode(text: str, name: str) -> None:
    """Reject lone surrogates, which file names and arguments that are not UTF-8 contain.

    In a URL they would be left out silently, and the call would be about something else.

    Raises:
        ValueError: The text contains one. The message starts with ``name``.
    """
    error = unicode_error(text, name)
    if error is not None:
        raise error


def unicode_error(text: str, name: str) -> ValueError | None:
    """Return the error that `check_unicode` raises for a text; None for Unicode text."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        surrogate = text[exc.start]
        return ValueError(
            f"{name} must be Unicode text: it contains a lone surrogate ({surrogate!r})"
        )
    return None


def is_missing(value: object) -> bool:
    """Whether a value is missing: None, UNSET, blank text, NaN or ``pandas.NA``."""
    if value is None or value is UNSET:
        return True
    text = as_text(value)
    if text is not None:
        return not text or text.isspace()
    return not isinstance(value, (bool, int, dict, list)) and is_nan(value)


def is_nan(value: object) -> bool:
    """Whether a value is NaN or one of pandas' missing values."""
    try:
        return bool(value != value)  # noqa: PLR0124 # true for NaN and NaT only
    except (TypeError, ValueError, ArithmeticError):
        # Comparing pandas.NA gives NA, and comparing an array gives an array.
        return type(value).__name__ == "NAType"


def iso(moment: datetime) -> str:
    """Format a datetime in ISO 8601 with microseconds; UTC becomes ``Z``.

    Calls `datetime.isoformat` itself, because the method of a subclass may write more digits.
    """
    text = datetime.isoformat(moment)
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def plain(value: object) -> Any:
    """Convert a value that msgspec cannot encode; the ``enc_hook`` of our encoders.

    msgspec calls it for values and for keys of dicts. Of the plain types, only a key can be None
    or a bool here.

    Returns:
        A value to encode instead, which may need the hook again.

    Raises:
        TypeError: The value cannot be represented in JSON.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert(value)
    result = _plain_object(value)
    if result is None:
        raise TypeError(f"unsupported type of a value or key: {name_of(type(value))}")
    return result


def name_of(kind: type) -> str:
    """Return the name of a type with its module, because many libraries share names."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _moment(value: datetime) -> str | float:
    return float("nan") if is_nan(value) else iso(value)


def _duration(value: timedelta) -> timedelta:
    return timedelta(value.days, value.seconds, value.microseconds)


# The methods of the base classes, because a subclass may override them.
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


def _plain_object(value: object) -> object:
    """Return a plain value for an object of a library, or None if there is none."""
    # A dict gets here only as a key, and a class has no value.
    if isinstance(value, (dict, type)):
        return None
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    thing: Any = value
    # Looked up on the class: an object with any attribute, such as a mock, would never end.
    if callable(getattr(type(value), "model_dump", None)):
        return thing.model_dump(exclude_none=True)
    if getattr(getattr(thing, "dtype", None), "kind", None) in _PLAIN_KINDS:
        numbers = thing.tolist()
        return None if type(numbers) is type(value) else numbers
    # NaN is encoded as null and logged.
    return float("nan") if is_nan(value) else None
