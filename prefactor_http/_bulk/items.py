"""From what callers bring to items of a batch, each encoded once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from prefactor_http import _api
from prefactor_http._bulk.key_maker import KeyMaker
from prefactor_http._bulk.options import Group
from prefactor_http._bulk.outcome import Entry
from prefactor_http._bulk.row_key import KEY, RowKeys, fields_of, given_fields
from prefactor_http._bulk.row_shape import Shapes
from prefactor_http._bulk.source import MakeEntry
from prefactor_http._http.encoding import ENCODE_ERRORS, encode_json, has_null
from prefactor_http._http.identity import NOTHING_SENT
from prefactor_http._http.json_paths import check_nulls, explain
from prefactor_http._values import as_text, is_nan
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.models.bulk import BulkItem

_REGISTER = str(_api.REGISTER.bulk)
_HEAD = b'{"_type":"%b","idempotency_key":' % _REGISTER.encode()


def item_maker(group: Group) -> MakeEntry:
    """Make entries of `BulkItem`s.

    Args:
        group: What an item's group is: a callable, the name of an attribute, or None.

    Returns:
        The maker; an item that cannot be sent becomes an entry that says why.
    """
    check = _NullCheck("bulk.stream: item")

    def make(index: int, item: BulkItem) -> Entry:
        name: Hashable = None
        try:
            call = _call_of(item)
            # First: an item that is refused breaks its group.
            name = _group_of(item, call, group)
            try:
                body = encode_json(call)
                if has_null(body):
                    check(index, call)
            except ENCODE_ERRORS as exc:
                raise explain(exc, call) from None
            operation = _api.BY_BULK_TYPE.get(item.type)
            sent = NOTHING_SENT if operation is None else operation.sent_by_item(call)
            return Entry(
                index,
                item.idempotency_key,
                item.type,
                body,
                group=name,
                id=as_text(sent.id),
                external_identifier=as_text(sent.external_identifier),
                agent_instance_id=as_text(sent.agent_instance_id),
            )
        except Exception as exc:  # noqa: BLE001 # the encoder's, or out of a caller's ``group``
            return _refused(index, getattr(item, KEY, None), name, exc)

    return make


def row_maker(shared: dict[str, Any], job: str | None, group: Group) -> MakeEntry:
    """Make entries of rows to register.

    Args:
        shared: Fields that a row takes where it lacks them; encoded once.
        job: Name that keys are derived with; None for random keys.
        group: What a row's group is.

    Returns:
        The maker; a row that cannot be sent becomes an entry that says why.

    Raises:
        TypeError: The job is no text, or a shared field has no JSON form.
        ValueError: The job is blank, or an id or a name in a shared field is NaN.
    """
    row_keys = None if job is None else RowKeys(job)
    shapes = Shapes(shared, row_keys)
    make_key = KeyMaker()
    check = _NullCheck("register_many: row")

    def make(index: int, row: dict[str, Any] | RegisterAgentInstanceRequest) -> Entry:
        key: str | None = None
        name: Hashable = None
        try:
            fields = row if type(row) is dict else fields_of(row)
            if group is not None:
                # First: a row that is refused breaks its group.
                name = _group_of(row, fields, group)
            shape = shapes[tuple(fields)]
            if not shape.is_given(fields):
                fields = given_fields(fields)
                shape = shapes[tuple(fields)]
            given = None
            if shape.has_key:
                fields = fields.copy()
                given = check_key(fields.pop(KEY), min_length=MIN_LENGTH_IN_BULK)
            try:
                own = shape.encode(fields)
                if shape.others and has_null(own):
                    check(index, fields)
            except ENCODE_ERRORS as exc:
                raise explain(exc, fields) from None
            if given is not None:
                key = given
            else:
                key = make_key() if shape.derive is None else shape.derive(index, fields, own)
            if shape.lacks is not None:
                message = f"the row has no {shape.lacks}, and neither have the arguments"
                raise ValueError(message)  # noqa: TRY301 # caught with the encoder's errors
            body = b"".join((_HEAD, encode_json(key), b",", own[1:-1]))
            return Entry(
                index,
                key,
                _REGISTER,
                body,
                shape.tail,
                name,
                id=fields.get("id"),
                external_identifier=fields.get("external_identifier"),
            )
        except Exception as exc:  # noqa: BLE001 # the encoder's, or out of a caller's ``group``
            return _refused(index, key, name, exc)

    return make


class _NullCheck:
    """Looks for NaN in rows or items; only the first one of a run is logged."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._was_logged = False

    def __call__(self, index: int, value: object) -> None:
        label = f"{self._label} {index}, and perhaps later ones"
        if check_nulls(label, value, is_logged=not self._was_logged):
            self._was_logged = True


def _call_of(item: BulkItem) -> dict[str, Any]:
    if not isinstance(item, BulkItem):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        raise TypeError(f"an item must be a BulkItem, not {type(item).__name__}")
    return vars(item)


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
    return None if name is not None and is_nan(name) else name


def _refused(index: int, key: str | None, group: Hashable, error: Exception) -> Entry:
    return Entry(index, key or "", _REGISTER, b"", group=group, refusal=error.with_traceback(None))
