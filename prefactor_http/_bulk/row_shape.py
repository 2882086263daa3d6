"""What rows with the same fields have in common: found once, not for each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw, Struct

from prefactor_http._bulk.row_key import KEY, NAMES, TEXTS, RowKeys, check_names, content_of
from prefactor_http._http.encoding import (
    ENCODE_ERRORS,
    canonical,
    encode_json,
    encode_sorted,
    has_null,
)
from prefactor_http._http.json_paths import check_nulls, explain
from prefactor_http._values import is_missing

_VERSIONS = ("agent_version", "agent_schema_version")
_MAX_SHAPES = 64  # rows with ever other fields must not fill the memory

Derive = Callable[[int, dict[str, Any], bytes], str]


class Shape(Struct):
    """What all rows with the same fields have in common.

    Attributes:
        texts: Fields that must be text.
        others: The other fields.
        encode: How such rows are encoded.
        tail: Encoded fields that come from the arguments.
        has_key: Whether the row brings a key.
        lacks: A field that neither the row nor the arguments have.
        derive: Derives a row's key from its position, its fields and these encoded.
    """

    texts: tuple[str, ...]
    others: tuple[str, ...]
    encode: Callable[[object], bytes]
    tail: bytes
    has_key: bool
    lacks: str | None
    derive: Derive | None

    def is_given(self, fields: dict[str, Any]) -> bool:
        """Tell whether `given_fields` would change nothing in a row."""
        for name in self.texts:
            text = fields[name]
            if type(text) is not str or not text or text.strip() is not text:
                return False
        return not self.others or not any(is_missing(fields[name]) for name in self.others)


class Shapes(dict[tuple[str, ...], Shape]):
    """Shapes by the names of the fields; one that is asked for is made.

    Args:
        shared: Fields that a row takes where it lacks them.
        row_keys: Derives keys; None where they are random.

    Raises:
        TypeError: A shared field has no JSON form.
        ValueError: An id or a name in a shared field is NaN, or it cannot be encoded.
    """

    def __init__(self, shared: dict[str, Any], row_keys: RowKeys | None) -> None:
        super().__init__()
        try:
            if has_null(encode_json(shared)):
                check_nulls("register_many", shared)
        except ENCODE_ERRORS as exc:
            raise explain(exc, shared) from None
        self._shared = shared
        self._row_keys = row_keys

    def __missing__(self, names: tuple[str, ...]) -> Shape:
        shape = self._new(names)
        if len(self) < _MAX_SHAPES:
            self[names] = shape
        return shape

    def _new(self, names: tuple[str, ...]) -> Shape:
        check_names(names)
        # Canonical, as a key stays with what it was first sent with: the elements of a set must
        # not come in the order of this process.
        lacking = {
            name: Raw(canonical(value)) for name, value in self._shared.items() if name not in names
        }
        missing = [name for name in _VERSIONS if name not in names and name not in lacking]
        tail = encode_json(lacking)[1:]
        has_key = KEY in names
        others = tuple(name for name in names if name not in TEXTS)
        named_by = next((name for name in NAMES if name in names), None)
        return Shape(
            texts=tuple(name for name in names if name in TEXTS),
            others=others,
            encode=canonical if others else encode_json if named_by else encode_sorted,
            tail=b"," + tail if lacking and len(names) > has_key else tail,
            has_key=has_key,
            lacks=missing[0] if missing else None,
            derive=self._derive_for(named_by, has_objects=bool(others)),
        )

    def _derive_for(self, named_by: str | None, *, has_objects: bool) -> Derive | None:
        row_keys = self._row_keys
        if row_keys is None:
            return None
        by_place = row_keys.by_place
        if named_by is not None:
            by_name = row_keys.by_name[named_by]
            return lambda _index, fields, _own: by_name(fields[named_by])
        if has_objects:
            return lambda index, fields, _own: by_place(index, content_of(fields))
        return lambda index, _fields, own: by_place(index, own)
