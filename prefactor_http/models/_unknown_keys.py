"""Logs keys of dicts that a model does not have: most are misspelled, and the API ignores them."""

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, cast, get_args, get_origin

import msgspec
from msgspec import Struct

_log = logging.getLogger("prefactor_http")

_MIN_PREFIX = 3
_MAX_KEY_LENGTH = 60
_MAX_LOGGED = 100  # for each model; bounds the memory for a program that generates keys


def closest(key: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most similar to a key; None if no name is similar."""
    import difflib  # noqa: PLC0415 # most processes misspell no key

    names = {name.casefold(): name for name in known}
    given = key.casefold().strip()
    matches = difflib.get_close_matches(given, names, n=1, cutoff=cutoff)
    if not matches and len(given) >= _MIN_PREFIX:  # an abbreviation
        matches = [name for name in names if name.startswith(given)]
    return names[matches[0]] if matches else None


class UnknownKeys:
    """Logs each key of a dict, and of the dicts in it, that its model does not have.

    Each key of a model is logged once per process. JSON schemas and payloads are not checked.

    Args:
        model: The model.
    """

    def __init__(self, model: type[Struct]) -> None:
        fields = msgspec.structs.fields(model)
        self._logged: set[str] = set()
        self._name = model.__name__
        self._allowed = ", ".join(field.name for field in fields)
        self._known = frozenset(field.name for field in fields)
        self._nested = [
            (field.name, unknown_keys_of(inner))
            for field in fields
            for inner in _models_in(field.type)
        ]

    def log(self, value: Mapping[str, object]) -> None:
        """Log the unknown keys of a dict."""
        if not self._known.issuperset(value):
            for key in value.keys() - self._known:
                self._log_once(str(key)[:_MAX_KEY_LENGTH])
        for name, inner in self._nested:
            if name in value:
                inner.log_in(value[name])

    def log_nested(self, model: Struct) -> None:
        """Log the unknown keys of the dicts in a model."""
        for name, inner in self._nested:
            inner.log_in(getattr(model, name))

    def log_in(self, value: object) -> None:
        """Log the unknown keys of a dict, or of each dict in a list; ignore anything else."""
        if isinstance(value, dict):
            self.log(cast("dict[str, object]", value))
        elif isinstance(value, (list, tuple)):
            for each in cast("Iterable[object]", value):
                if isinstance(each, dict):
                    self.log(cast("dict[str, object]", each))
        elif isinstance(value, Mapping):
            self.log(cast("Mapping[str, object]", value))

    def _log_once(self, key: str) -> None:
        if key in self._logged or len(self._logged) >= _MAX_LOGGED:
            return
        self._logged.add(key)
        meant = closest(key, self._known)
        hint = f"allowed are {self._allowed}" if meant is None else f"did you mean {meant!r}?"
        _log.warning("%s has no field %r, which is sent unchanged: %s", self._name, key, hint)


@cache
def unknown_keys_of(model: type[Struct]) -> UnknownKeys:
    """Return the check of a model. It is created when it is first needed."""
    return UnknownKeys(model)


def _models_in(kind: Any) -> Iterable[type[Struct]]:
    """Yield the model of a field; nothing if the field holds no model."""
    for each in (kind, *get_args(kind)):
        if get_origin(each) is list:
            yield from _models_in(get_args(each)[0])
        elif isinstance(each, type) and issubclass(each, Struct):
            yield each
