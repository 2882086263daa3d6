"""From what callers bring to items of a batch, each encoded once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct

from prefactor_http import _api
from prefactor_http._batch_options import Group
from prefactor_http._batch_outcome import Entry
from prefactor_http._batch_source import MakeEntry
from prefactor_http._key_maker import KeyMaker
from prefactor_http._row_key import row_key
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.models.bulk import BulkItem

_REGISTER = str(_api.REGISTER.bulk)
_FIELDS = frozenset(RegisterAgentInstanceRequest.__struct_fields__)
_KEY = "idempotency_key"
_HEAD = b'{"_type":"%b","idempotency_key":' % _REGISTER.encode()
_MOST_SHAPES = 64  # rows with ever other fields must not fill the memory
_encode = msgspec.json.Encoder().encode


def item_maker(group: Group) -> MakeEntry:
    """Make entries of `BulkItem`s.

    Args:
        group: What an item's group is: a callable, the name of an attribute, or None.

    Returns:
        The maker; an item that cannot be sent becomes an entry that says why.
    """

    def make(index: int, item: BulkItem) -> Entry:
        name: Hashable = None
        try:
            call = _call_of(item)
            # First: an item that is refused breaks its group.
            name = _group_of(item, call, group)
            return Entry(index, item.idempotency_key, item.type, _encode(call), group=name)
        except Exception as exc:  # noqa: BLE001 # the encoder's, or out of a caller's ``group``
            return _refused(index, getattr(item, _KEY, None), name, exc)

    return make


def row_maker(shared: dict[str, Any], job: str | None, group: Group) -> MakeEntry:
    """Make entries of rows to register.

    Args:
        shared: Fields that a row takes where it lacks them; encoded once.
        job: Name that keys are derived with; None for random keys.
        group: What a row's group is.

    Returns:
        The maker; a row that cannot be sent becomes an entry that says why.
    """
    shapes: dict[tuple[str, ...], _Shape] = {}
    make_key = KeyMaker()
    derive = None if job is None else row_key(job)

    def make(index: int, row: dict[str, Any] | RegisterAgentInstanceRequest) -> Entry:
        key: str | None = None
        name: Hashable = None
        try:
            fields = row if type(row) is dict else _fields_of(row)
            if group is not None:
                # First: a row that is refused breaks its group.
                name = _group_of(row, fields, group)
            names = tuple(fields)
            shape = shapes.get(names)
            if shape is None:
                shape = _shape_of(fields, shared)
                if len(shapes) < _MOST_SHAPES:
                    shapes[names] = shape
            given = None
            if shape.has_key:
                fields = fields.copy()
                given = fields.pop(_KEY)
            own = _encode(fields)
            if given is not None:
                key = check_key(given, min_length=MIN_LENGTH_IN_BULK)
            else:
                key = make_key() if derive is None else derive(index, fields, own)
            if shape.lacks is not None:
                raise ValueError(f"the row has no {shape.lacks}, and neither have the arguments")
            body = b"".join((_HEAD, _encode(key), b",", own[1:-1]))
            return Entry(index, key, _REGISTER, body, shape.tail, name)
        except Exception as exc:  # noqa: BLE001 # the encoder's, or out of a caller's ``group``
            return _refused(index, key, name, exc)

    return make


class _Shape(Struct):
    """What all rows with the same fields have in common."""

    tail: bytes
    has_key: bool
    lacks: str | None


def _shape_of(fields: dict[str, Any], shared: dict[str, Any]) -> _Shape:
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise ValueError(
            f"unknown field {', '.join(sorted(map(repr, unknown)))}; "
            f"allowed are {', '.join(sorted(_FIELDS))}"
        )
    lacking = {name: value for name, value in shared.items() if name not in fields}
    versions = ("agent_version", "agent_schema_version")
    missing = [name for name in versions if name not in fields and name not in lacking]
    tail = _encode(lacking)[1:]
    has_key = _KEY in fields
    has_own = len(fields) > has_key
    tail = b"," + tail if lacking and has_own else tail
    return _Shape(tail, has_key, missing[0] if missing else None)


def _call_of(item: BulkItem) -> dict[str, Any]:
    if not isinstance(item, BulkItem):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        raise TypeError(f"an item must be a BulkItem, not {type(item).__name__}")
    return vars(item)


def _fields_of(row: object) -> dict[str, Any]:
    if isinstance(row, dict):
        # Plain: the encoder passes over the order that an OrderedDict says it has.
        return {**cast("dict[str, Any]", row)}
    if not isinstance(row, RegisterAgentInstanceRequest):
        raise TypeError(
            f"a row must be a dict or RegisterAgentInstanceRequest, not {type(row).__name__}"
        )
    values = msgspec.structs.asdict(row)
    return {name: value for name, value in values.items() if value is not UNSET}


def _group_of(item: Any, fields: dict[str, Any], group: Group) -> Hashable:
    if group is None:
        return None
    name: Hashable
    if callable(group):
        name = group(item)
    else:
        if group not in fields:
            raise ValueError(f"there is no {group} to group by")
        name = fields[group]
    hash(name)  # a TypeError where it cannot be compared
    return name


def _refused(index: int, key: str | None, group: Hashable, error: Exception) -> Entry:
    plain = ValueError("it refers to itself") if isinstance(error, RecursionError) else error
    return Entry(index, key or "", _REGISTER, b"", group=group, refusal=plain.with_traceback(None))
