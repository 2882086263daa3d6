"""Encodes `BulkItem`s and rows as the items of a batch. Each is encoded once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from prefactor_http import _api
from prefactor_http._bulk.batch_item import BatchItem
from prefactor_http._bulk.key_pool import KeyPool
from prefactor_http._bulk.options import Group
from prefactor_http._bulk.rows import KEY, RowKeys, RowShapes, fields_of, given_fields
from prefactor_http._bulk.source import EncodeItem
from prefactor_http._http.encoding import ENCODE_ERRORS, encode_json, has_null
from prefactor_http._http.identity import NOTHING_SENT
from prefactor_http._http.json_paths import check_nulls, explain
from prefactor_http._values.plain import as_text, is_nan
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key
from prefactor_http.models._unknown_keys import unknown_keys_of
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.models.bulk import BulkItem

_REGISTER = str(_api.REGISTER.bulk)
_HEAD = b'{"_type":"%b","idempotency_key":' % _REGISTER.encode()


def bulk_item_encoder(group: Group) -> EncodeItem:
    """Create an encoder of `BulkItem`s.

    Args:
        group: What an item's group is: a callable, the name of an attribute, or None.

    Returns:
        The encoder. An item that cannot be sent becomes a batch item with an `error`.
    """
    check = _NullCheck("bulk.stream: item")

    def encode(index: int, bulk_item: BulkItem) -> BatchItem:
        item_group: Hashable = None
        try:
            call = _call_of(bulk_item)
            # First: an invalid item blocks its group.
            item_group = _group_of(bulk_item, call, group)
            try:
                body = encode_json(call)
                if has_null(body):
                    check(index, call)
            except ENCODE_ERRORS as exc:
                raise explain(exc, call) from None
            operation = _api.BY_BULK_TYPE.get(bulk_item.type)
            sent = NOTHING_SENT if operation is None else operation.sent_by_item(call)
            return BatchItem(
                index,
                bulk_item.idempotency_key,
                bulk_item.type,
                body,
                group=item_group,
                id=as_text(sent.id),
                external_identifier=as_text(sent.external_identifier),
                agent_instance_id=as_text(sent.agent_instance_id),
            )
        except Exception as exc:  # noqa: BLE001 # the encoder's, or of a caller's ``group``
            return _invalid_item(index, getattr(bulk_item, KEY, None), item_group, exc)

    return encode


def row_encoder(shared: dict[str, Any], job: str | None, group: Group) -> EncodeItem:
    """Create an encoder of rows to register.

    Args:
        shared: Fields that a row takes where it lacks them; encoded once.
        job: Name of the job, for derived keys; None for random keys.
        group: What a row's group is.

    Returns:
        The encoder. A row that cannot be sent becomes a batch item with an `error`.

    Raises:
        TypeError: The job is not text, or a shared field has no JSON form.
        ValueError: The job is blank or not Unicode, or an id or a name in a shared field is NaN.
    """
    row_keys = None if job is None else RowKeys(job)
    shapes = RowShapes(shared, row_keys)
    random_key = KeyPool()
    check = _ObjectCheck("register_many: row")

    def encode(index: int, row: dict[str, Any] | RegisterAgentInstanceRequest) -> BatchItem:
        key: str | None = None
        row_group: Hashable = None
        try:
            fields = row if type(row) is dict else fields_of(row)
            if group is not None:
                # First: an invalid row blocks its group.
                row_group = _group_of(row, fields, group)
            shape = shapes[tuple(fields)]
            if not shape.is_normalized(fields):
                fields = given_fields(fields)
                shape = shapes[tuple(fields)]
            given_key = None
            if shape.has_key:
                fields = fields.copy()
                given_key = check_key(fields.pop(KEY), min_length=MIN_LENGTH_IN_BULK)
            try:
                encoded = shape.encode(fields)
                if shape.others:
                    check(index, fields, encoded)
            except ENCODE_ERRORS as exc:
                raise explain(exc, fields) from None
            if given_key is not None:
                key = given_key
            else:
                derive = shape.derive_key
                key = random_key() if derive is None else derive(index, fields, encoded)
            if shape.missing is not None:
                message = f"the row has no {shape.missing}, and neither have the arguments"
                raise ValueError(message)  # noqa: TRY301 # caught with the encoder's errors
            body = b"".join((_HEAD, encode_json(key), b",", encoded[1:-1]))
            return BatchItem(
                index,
                key,
                _REGISTER,
                body,
                shape.tail,
                row_group,
                id=fields.get("id"),
                external_identifier=fields.get("external_identifier"),
            )
        except Exception as exc:  # noqa: BLE001 # the encoder's, or of a caller's ``group``
            return _invalid_item(index, key, row_group, exc)

    return encode


class _NullCheck:
    """Looks for NaN in rows or items. Only the first one of a run is logged."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._was_logged = False

    def __call__(self, index: int, value: object) -> None:
        label = f"{self._label} {index}, and perhaps later ones"
        if check_nulls(label, value, is_logged=not self._was_logged):
            self._was_logged = True


class _ObjectCheck:
    """Looks for unknown keys and NaN in rows with objects."""

    def __init__(self, label: str) -> None:
        self._check_nulls = _NullCheck(label)
        self._log_unknown_keys = unknown_keys_of(RegisterAgentInstanceRequest).log

    def __call__(self, index: int, fields: dict[str, Any], encoded: bytes) -> None:
        self._log_unknown_keys(fields)
        if has_null(encoded):
            self._check_nulls(index, fields)


def _call_of(item: BulkItem) -> dict[str, Any]:
    if not isinstance(item, BulkItem):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        raise TypeError(f"an item must be a BulkItem, not {type(item).__name__}")
    return vars(item)


def _group_of(item: Any, fields: dict[str, Any], group: Group) -> Hashable:
    if group is None:
        return None
    value: Hashable
    if callable(group):
        value = group(item)
    else:
        if group not in fields:
            raise ValueError(f"there is no {group} to group by")
        value = fields[group]
    hash(value)  # raises TypeError if it is not hashable
    return None if value is not None and is_nan(value) else value


def _invalid_item(index: int, key: str | None, group: Hashable, error: Exception) -> BatchItem:
    error = error.with_traceback(None)
    return BatchItem(index, key or "", _REGISTER, b"", group=group, error=error)
