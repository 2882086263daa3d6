"""The base of models that callers build by hand, which check their fields when built."""

from datetime import time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import fields

from prefactor_http._values import as_text, plain
from prefactor_http.models._datetime import date, datetime

_LONGEST_PROBLEM = 200
# Not text, though JSON has only text for them: a name must not be one of these.
_NO_TEXT = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)


class CheckedModel(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A model whose fields must fit their types.

    A plain dict may stand where a nested model is expected. It is checked like the model and goes
    out as it is, with the keys that the model does not know.

    Raises:
        ValueError: A field does not fit; the message names it and says what is allowed.
    """

    _not_blank: ClassVar[tuple[str, ...]] = ()
    """Fields whose text must not be blank."""

    def __post_init__(self) -> None:
        for name in self._not_blank:
            text = as_text(getattr(self, name))
            if text is not None and not text.strip():
                raise ValueError(_problem(self, name, "must not be blank"))
        for name, kind, choices in _rules(type(self)):
            value: object = getattr(self, name)
            if value is UNSET:
                continue
            if choices and as_text(value) not in choices:
                given = repr(value) if isinstance(value, str) else type(value).__name__
                allowed = ", ".join(map(repr, choices))
                raise ValueError(_problem(self, name, f"{given:.60} is none of {allowed}"))
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError as exc:
                if not _fits_when_plain(value, kind):
                    raise ValueError(_problem(self, name, str(exc))) from None


def _fits_when_plain(value: object, kind: Any) -> bool:
    """Tell whether a value fits once subclasses, enum members and the like are plain."""
    try:
        msgspec.convert(msgspec.to_builtins(value, builtin_types=_NO_TEXT, enc_hook=plain), kind)
    except (TypeError, ValueError, RecursionError):  # a ValidationError is a ValueError
        return False
    return True


def _problem(model: CheckedModel, name: str, text: str) -> str:
    if len(text) > _LONGEST_PROBLEM:
        text = f"{text[:_LONGEST_PROBLEM]}…"
    return f"{type(model).__name__}.{name}: {text}"


@cache
def _rules(model: type[CheckedModel]) -> list[tuple[str, Any, tuple[str, ...]]]:
    # Resolving annotations costs far more than checking a value, hence once a class.
    return [(field.name, field.type, _choices(field.type)) for field in fields(model)]


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the values of a Literal, which may be left out but not be None."""
    for each in (kind, *get_args(kind)):
        if get_origin(each) is Literal:
            return get_args(each)
    return ()
