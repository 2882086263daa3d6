"""Rows of `register_many`: which fields they have, what identifies them, and how they are encoded.

What depends only on the names of a row's fields is computed once for all rows with the same names
(`RowShape`): which fields need a check, which encoder fits, what comes from the arguments, and how
the key is derived. Most sources give rows of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct

from prefactor_http._http.encoding import (
    ENCODE_ERRORS,
    canonical,
    encode_json,
    encode_sorted,
    has_null,
)
from prefactor_http._http.json_paths import check_nulls, explain
from prefactor_http._values.plain import as_text, check_unicode, is_missing
from prefactor_http.idempotency import derive_from, derive_key
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest

# Fields that identify a row by themselves, whatever its position and its other fields.
NAMES = ("id", "external_identifier")
KEY = "idempotency_key"
_FIELDS = frozenset(RegisterAgentInstanceRequest.__struct_fields__)
_IDS = (*NAMES, "agent_id", "environment_id")
# Fields that hold text; the others hold objects, or a flag.
_TEXTS = (*_IDS, "purpose", KEY)
_VERSIONS = ("agent_version", "agent_schema_version")
_MAX_SHAPES = 64  # bounds the memory for a source whose rows all have different fields

DeriveKey = Callable[[int, dict[str, Any], bytes], str]


def fields_of(row: object) -> dict[str, Any]:
    """Return the fields of a row as a dict.

    Raises:
        TypeError: The row is neither a dict nor a request.
    """
    if isinstance(row, Mapping):
        # A plain dict: msgspec ignores the order that an OrderedDict reports.
        return {**cast("Mapping[str, Any]", row)}
    if not isinstance(row, RegisterAgentInstanceRequest):
        raise TypeError(
            f"a row must be a dict or RegisterAgentInstanceRequest, not {type(row).__name__}"
        )
    values = msgspec.structs.asdict(row)
    return {name: value for name, value in values.items() if value is not UNSET}


def check_names(fields: Iterable[str]) -> None:
    """Check that a row has only fields of a register.

    Raises:
        ValueError: A field is unknown; the message lists the allowed ones.
    """
    unknown = set(fields) - _FIELDS
    if unknown:
        raise ValueError(
            f"unknown field {', '.join(sorted(map(repr, unknown)))}; "
            f"allowed are {', '.join(sorted(_FIELDS))}"
        )


def given_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a row's fields as they are sent, in a new dict.

    None, UNSET, NaN and blank text mean that the field is left out. Subclasses of str become plain
    str. Names are stripped, because the API strips them.

    Raises:
        TypeError: An id or a name is not text.
    """
    given = {name: value for name, value in fields.items() if not is_missing(value)}
    for name in _TEXTS:
        text = as_text(given.get(name))
        if text is not None:
            given[name] = text.strip() if name in NAMES else text
        elif name in _IDS and name in given:
            raise TypeError(f"{name} must be a str, not {type(given[name]).__name__}")
    return given


def content_of(fields: dict[str, Any]) -> bytes:
    """Encode a row's content without its key, such that equal content gives equal bytes."""
    return canonical(
        {
            name: msgspec.json.decode(value) if isinstance(value, Raw) else value
            for name, value in fields.items()
            if name != KEY
        }
    )


class RowKeys:
    """Derives the keys of a job's rows: the same on every run and on every machine.

    Args:
        job: Name of the job.
        partition: Name or number of a partition, within which a row without a name is identified
            by its position; None for a job without partitions.

    Raises:
        TypeError: The job is not text, or the partition is neither text nor an int.
        ValueError: One of them is blank or not Unicode.
    """

    def __init__(self, job: str, partition: str | int | None = None) -> None:
        name = as_text(job)
        if name is None:
            raise TypeError(f"job must be a str, not {type(job).__name__}")
        _check_name(name, "job")
        _check_name(as_text(partition), "partition")
        self.by_name = {field: derive_from("register", name, field) for field in NAMES}
        self.by_position = derive_from(
            *(
                ("register", name)
                if partition is None
                else (derive_key("register", name, "partition", partition),)
            )
        )

    def __call__(self, index: int, fields: dict[str, Any]) -> str:
        """Derive a row's key.

        Args:
            index: The row's position.
            fields: Its `given_fields`; a key among them is not part of its content.
        """
        for name, derive in self.by_name.items():
            if name in fields:
                return derive(fields[name])
        return self.by_position(index, content_of(fields))


def _check_name(text: str | None, name: str) -> None:
    if text is None:
        return
    if not text or text.isspace():
        raise ValueError(f"{name} must not be blank: rows of other jobs would have the same keys")
    check_unicode(text, name)


class RowShape(Struct):
    """What all rows with the same field names have in common.

    Attributes:
        texts: Fields that must be text.
        others: The other fields.
        encode: Encodes such rows.
        tail: Encoded fields that come from the arguments.
        has_key: Whether the row has its own key.
        missing: A required field that neither the row nor the arguments have.
        derive_key: Derives a row's key from its position, its fields and its encoded fields; None
            for random keys.
    """

    texts: tuple[str, ...]
    others: tuple[str, ...]
    encode: Callable[[object], bytes]
    tail: bytes
    has_key: bool
    missing: str | None
    derive_key: DeriveKey | None

    def is_normalized(self, fields: dict[str, Any]) -> bool:
        """Whether `given_fields` would return the same fields."""
        for name in self.texts:
            text = fields[name]
            if type(text) is not str or not text or text.strip() is not text:
                return False
        return not self.others or not any(is_missing(fields[name]) for name in self.others)


class RowShapes(dict[tuple[str, ...], RowShape]):
    """Shapes by field names, created on first access.

    Args:
        shared: Fields that a row takes where it lacks them.
        row_keys: Derives keys; None for random keys.

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

    def __missing__(self, names: tuple[str, ...]) -> RowShape:
        shape = self._new_shape(names)
        if len(self) < _MAX_SHAPES:
            self[names] = shape
        return shape

    def _new_shape(self, names: tuple[str, ...]) -> RowShape:
        check_names(names)
        # A repeated key must come with the same bytes, so the encoding is canonical: the order of
        # a set differs between processes.
        shared = {
            name: Raw(canonical(value)) for name, value in self._shared.items() if name not in names
        }
        missing = [name for name in _VERSIONS if name not in names and name not in shared]
        tail = encode_json(shared)[1:]
        has_key = KEY in names
        others = tuple(name for name in names if name not in _TEXTS)
        identified_by = next((name for name in NAMES if name in names), None)
        return RowShape(
            texts=tuple(name for name in names if name in _TEXTS),
            others=others,
            encode=canonical if others else encode_json if identified_by else encode_sorted,
            tail=b"," + tail if shared and len(names) > has_key else tail,
            has_key=has_key,
            missing=missing[0] if missing else None,
            derive_key=self._derive_key_for(identified_by, has_objects=bool(others)),
        )

    def _derive_key_for(self, identified_by: str | None, *, has_objects: bool) -> DeriveKey | None:
        row_keys = self._row_keys
        if row_keys is None:
            return None
        by_position = row_keys.by_position
        if identified_by is not None:
            by_name = row_keys.by_name[identified_by]
            return lambda _index, fields, _encoded: by_name(fields[identified_by])
        if has_objects:
            return lambda index, fields, _encoded: by_position(index, content_of(fields))
        return lambda index, _fields, encoded: by_position(index, encoded)
