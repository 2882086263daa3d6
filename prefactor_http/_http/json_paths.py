"""Finds the values of a request that JSON cannot represent. Slow: used for messages only."""

from __future__ import annotations

import logging
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, Struct

from prefactor_http._values.plain import as_text, name_of, plain, unicode_error

_log = logging.getLogger("prefactor_http")
_encode = msgspec.json.Encoder(enc_hook=plain).encode

Steps: TypeAlias = tuple[object, ...]

_MAX_PATHS = 5
_MAX_KEY_LENGTH = 60
# Fields that identify a resource or a point in time, except inside fields with free content.
_is_identifier = re.compile(r"(.*_)?id|external_identifier|name|timestamp|\w+_at").fullmatch
_FREE_CONTENT = frozenset(
    {
        "payload",
        "result_payload",
        "quality_payload",
        "params_schema",
        "result_schema",
        "schema",
        "span_schemas",
        "span_result_schemas",
    }
)
# Values of these types can be encoded and contain no others.
_SIMPLE: frozenset[type] = frozenset({str, int, bool, type(None), bytes, Raw})


def check_nulls(name: str, value: object, *, is_logged: bool = True) -> bool:
    """Log the paths of NaN and infinity, which are sent as null.

    Args:
        name: Prefix of the log line.
        value: The value. Its encoded form contains ``null``.
        is_logged: Whether to log.

    Returns:
        Whether the value contains NaN or infinity.

    Raises:
        ValueError: An id, a name or a timestamp is NaN or infinite.
    """
    paths: list[str] = []
    for steps, _ in _find(value, _is_sent_as_null):
        paths.append(_path(steps))
        if _is_identifier(str(steps[-1])) and _FREE_CONTENT.isdisjoint(steps[:-1]):
            raise ValueError(f"{paths[-1]} must not be NaN or infinite")
    if paths and is_logged:
        more = f" and {len(paths) - _MAX_PATHS} more" if len(paths) > _MAX_PATHS else ""
        _log.warning(
            "%s: sent as null, because JSON has neither NaN nor infinity: %s%s",
            name,
            ", ".join(paths[:_MAX_PATHS]),
            more,
        )
    return bool(paths)


def explain(error: Exception, value: object) -> TypeError | ValueError:
    """Return an error that says why a value cannot be encoded, with the path to the cause."""
    if isinstance(error, RecursionError):
        return ValueError("it is nested too deep, or refers to itself")
    if isinstance(error, UnicodeEncodeError):
        return _unicode_error(value)
    if isinstance(error, ValueError):
        return error
    for steps, culprit in _find(value, _is_unsupported):
        return TypeError(
            f"{_path(steps)} is of type {name_of(type(culprit))}; "
            "convert it to a dict, list, str, number, bool or None"
        )
    return TypeError(str(error))


def _unicode_error(value: object) -> ValueError:
    for steps, text in _find(value, _is_text, skipped=_SIMPLE - {str}):
        error = unicode_error(as_text(text) or "", _path(steps))
        if error is not None:
            return error
    return ValueError("a key of a dict must be Unicode text: it contains a lone surrogate")


def set_fields(value: object, names: Iterable[str]) -> Iterator[tuple[str, object]]:
    """Yield the fields of an object that are sent."""
    for name in names:
        child = getattr(value, name, UNSET)
        if child is not UNSET:
            yield name, child


def _find(
    root: object, is_wanted: Callable[[object], bool], skipped: frozenset[type] = _SIMPLE
) -> Iterator[tuple[Steps, object]]:
    """Find wanted values that contain no others, breadth first, except those of skipped types."""
    seen: dict[int, object] = {}  # by id; the reference keeps the id from being reused
    pending: deque[tuple[Steps, object]] = deque([((), root)])
    while pending:
        steps, parent = pending.popleft()
        if id(parent) in seen:
            continue  # a cycle
        seen[id(parent)] = parent
        for key, child in _children(parent) or ():
            if type(child) in skipped:
                continue
            here = (*steps, key)
            if _children(child) is not None:
                pending.append((here, child))
            elif is_wanted(child):
                yield here, child


def _children(value: Any) -> Iterable[tuple[object, object]] | None:
    """Return what a value contains, by key or position; None if it is not a container."""
    names = _field_names(value)
    if names is not None:
        return set_fields(value, names)
    if not isinstance(value, (float, Mapping, list, tuple, set, frozenset)):
        try:
            value = plain(value)
        except TypeError:
            return None
    if isinstance(value, Mapping):
        return cast("Mapping[object, object]", value).items()
    if isinstance(value, (list, tuple, set, frozenset)):
        return enumerate(cast("Iterable[object]", value))
    return None


def _field_names(value: Any) -> list[str] | None:
    """Return the field names of a Struct, a dataclass or an attrs object; otherwise None."""
    if isinstance(value, Struct):
        return list(value.__struct_fields__)
    if is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in fields(value)]
    of_attrs: Iterable[Any] | None = getattr(value, "__attrs_attrs__", None)
    return None if of_attrs is None else [field.name for field in of_attrs]


def _path(steps: Steps) -> str:
    text = ""
    for step in steps:
        name = str(step)
        if type(step) is int:
            text += f"[{step}]"
        elif not name.isidentifier():
            text += f"[{name[:_MAX_KEY_LENGTH]!r}]"
        else:
            text += f".{name}" if text else name
    return text


def _is_text(value: object) -> bool:
    return as_text(value) is not None


def _is_sent_as_null(value: object) -> bool:
    return not math.isfinite(value) if type(value) is float else _encode(value) == b"null"


def _is_unsupported(value: object) -> bool:
    try:
        _encode(value)
    except TypeError:
        return True
    except ValueError:
        return False  # not the cause of the TypeError
    return False
