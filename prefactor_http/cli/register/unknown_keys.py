"""Finds keys that the API does not know: most are misspelled.

The API silently ignores unknown keys, so the value of a misspelled key would be lost.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from functools import cache
from typing import Any, cast, get_args, get_origin

import msgspec

from prefactor_http.models._unknown_keys import closest

# difflib's default of 0.6 suggests too much: keys of JSON often share a word.
_MIN_SIMILARITY = 0.7


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown key: the similar name and the allowed ones."""
    names = list(known)
    meant = closest(key, names)
    hint = "." if meant is None else f"; did you mean `{meant}`?"
    return f"{hint} Allowed are {', '.join(names)}."


class KeyCheck:
    """Checks the keys of objects with a model; JSON schemas in them are not checked.

    Args:
        allow_unknown: Whether all keys are accepted.
    """

    def __init__(self, *, allow_unknown: bool) -> None:
        self._allow_unknown = allow_unknown

    def check(self, value: object, kind: type[msgspec.Struct], path: str) -> list[str]:
        """Check an object and the objects in it.

        Args:
            value: The object, as decoded from JSON.
            kind: Its model.
            path: Its name in messages.

        Returns:
            A warning for each unknown key that is not similar to a known one.

        Raises:
            ValueError: An unknown key is similar to a known one.
        """
        return [] if self._allow_unknown else list(_warnings(value, kind, path))


def _warnings(value: object, kind: type[msgspec.Struct], path: str) -> Generator[str, None, None]:
    if not isinstance(value, dict):
        return  # a wrong type is reported elsewhere
    fields = cast("dict[str, object]", value)
    nested = _nested_kinds(kind)
    known = kind.__struct_fields__
    for key, inner in fields.items():
        if key not in known:
            meant = closest(key, known, _MIN_SIMILARITY)
            if meant is not None:
                raise ValueError(
                    f"{path} contains unknown field `{key}`; did you mean `{meant}`? "
                    f"Allowed are {', '.join(known)}. Use --allow-unknown to send it."
                )
            yield f"{path} contains unknown field `{key}`; it is sent unchanged."
        elif key in nested:
            place = f"{path}.{key}"
            if isinstance(inner, list):
                for position, element in enumerate(cast("list[object]", inner)):
                    yield from _warnings(element, nested[key], f"{place}[{position}]")
            else:
                yield from _warnings(inner, nested[key], place)


@cache
def _nested_kinds(kind: type[msgspec.Struct]) -> Mapping[str, type[msgspec.Struct]]:
    """Return the fields that hold a Struct or a list of them."""
    found: dict[str, type[msgspec.Struct]] = {}
    for field in msgspec.structs.fields(kind):
        for choice in _choices(field.type):
            element = get_args(choice)[0] if get_origin(choice) is list else choice
            if isinstance(element, type) and issubclass(element, msgspec.Struct):
                found[field.name] = element
    return found


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is not list and get_args(kind) else (kind,)
