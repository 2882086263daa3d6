"""The base of request models that users create. They check their fields on creation."""

from datetime import time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import fields

from prefactor_http._values.plain import as_text, plain
from prefactor_http.models._datetime import date, datetime
from prefactor_http.models._unknown_keys import unknown_keys_of

_MAX_PROBLEM_LENGTH = 200
# JSON encodes these as text, but a text field must not be one of them.
_NOT_TEXT = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)


class CheckedModel(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A model that checks the types of its fields.

    A nested model may be a plain dict. It is checked like the model and sent unchanged, including
    keys that the model does not have, which are logged.

    Raises:
        ValueError: A field has the wrong type. The message names it and says what is allowed.
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
        unknown_keys_of(type(self)).log_nested(self)


def _fits_when_plain(value: object, kind: Any) -> bool:
    """Whether a value has the type once subclasses, enum members and the like are plain."""
    try:
        msgspec.convert(msgspec.to_builtins(value, builtin_types=_NOT_TEXT, enc_hook=plain), kind)
    except (TypeError, ValueError, RecursionError):  # a ValidationError is a ValueError
        return False
    return True


def _problem(model: CheckedModel, name: str, text: str) -> str:
    if len(text) > _MAX_PROBLEM_LENGTH:
        text = f"{text[:_MAX_PROBLEM_LENGTH]}…"
    return f"{type(model).__name__}.{name}: {text}"


@cache
def _rules(model: type[CheckedModel]) -> list[tuple[str, Any, tuple[str, ...]]]:
    # Once per class: resolving annotations costs far more than checking a value.
    return [(field.name, field.type, _choices(field.type)) for field in fields(model)]


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the values of a Literal, which may be left out but not be None."""
    for each in (kind, *get_args(kind)):
        if get_origin(each) is Literal:
            return get_args(each)
    return ()
