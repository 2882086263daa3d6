"""From what callers bring to items of a batch, each encoded once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Hashable, Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from prefactor_http import _api
from prefactor_http._batch_outcome import Entry
from prefactor_http.idempotency import MIN_LENGTH_IN_BULK, check_key, derive_key, new_key
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest
from prefactor_http.models.bulk import BulkItem

Group = Callable[[Any], Hashable] | str | None
MakeEntry = Callable[[int, Any], Entry]

_REGISTER = str(_api.REGISTER.bulk)
_FIELDS = frozenset(RegisterAgentInstanceRequest.__struct_fields__)
_KEY = "idempotency_key"
# What a bad row brings about, in the encoder or in a caller's ``group``.
_TROUBLE = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
_encode = msgspec.json.Encoder().encode


def entries(
    items: Iterable[Any] | AsyncIterable[Any], make: MakeEntry
) -> Iterable[Entry] | AsyncIterable[Entry]:
    """Turn a source of items into a source of entries, lazily.

    Args:
        items: The source.
        make: Makes an entry of the item at a position.

    Returns:
        The entries.

    Raises:
        TypeError: The source is neither an iterable nor an async one.
    """
    if isinstance(items, AsyncIterable):
        return _entries_of_async(items, make)
    if isinstance(items, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        return _entries_of(items, make)
    raise TypeError(f"items must be an iterable or async iterable, not {type(items).__name__}")


def _entries_of(items: Iterable[Any], make: MakeEntry) -> Generator[Entry, None, None]:
    try:
        for index, item in enumerate(items):
            yield make(index, item)
    finally:
        if isinstance(items, Generator):
            items.close()


async def _entries_of_async(
    items: AsyncIterable[Any], make: MakeEntry
) -> AsyncGenerator[Entry, None]:
    index = 0
    try:
        async for item in items:
            yield make(index, item)
            index += 1
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


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
            name = _group_of(item, group)  # first, for an item that is refused breaks its group
            return Entry(index, item.idempotency_key, item.type, _encode(call), name)
        except _TROUBLE as exc:
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
    # What rows lack is encoded once for each set of fields that they bring, which are few.
    tails: dict[frozenset[str], bytes] = {}

    def tail_for(own: frozenset[str]) -> bytes:
        tail = tails.get(own)
        if tail is None:
            lacking = {name: value for name, value in shared.items() if name not in own}
            for name in ("agent_version", "agent_schema_version"):
                if name not in own and name not in lacking:
                    raise ValueError(f"the row has no {name}, and neither have the arguments")
            tail = _encode(lacking)[1:]
            if len(tails) < 64:  # noqa: PLR2004 # rows of endless shapes must not fill the memory
                tails[own] = tail
        return tail

    def make(index: int, row: dict[str, Any] | RegisterAgentInstanceRequest) -> Entry:
        key: str | None = None
        name: Hashable = None
        try:
            _check_row(row)
            name = _group_of(row, group)  # first, for a row that is refused breaks its group
            fields = _fields_of(row)
            given = fields.pop(_KEY, None)
            own = _encode(fields)
            if given is not None:
                key = check_key(given, min_length=MIN_LENGTH_IN_BULK)
            elif job is not None:
                key = _derived(job, index, fields, own)
            else:
                key = new_key()
            tail = tail_for(frozenset(fields))
            comma = b"," if len(own) > 2 and len(tail) > 1 else b""  # noqa: PLR2004 # two braces
            head = b'{"_type":"%b","idempotency_key":%b,' % (_REGISTER.encode(), _encode(key))
            body = head + own[1:-1] + comma + tail
            return Entry(index, key, _REGISTER, body, name)
        except _TROUBLE as exc:
            return _refused(index, key, name, exc)

    return make


def _call_of(item: BulkItem) -> dict[str, Any]:
    if not isinstance(item, BulkItem):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        raise TypeError(f"an item must be a BulkItem, not {type(item).__name__}")
    return vars(item)


def _check_row(row: object) -> None:
    if not isinstance(row, dict | RegisterAgentInstanceRequest):
        raise TypeError(
            f"a row must be a dict or RegisterAgentInstanceRequest, not {type(row).__name__}"
        )


def _fields_of(row: dict[str, Any] | RegisterAgentInstanceRequest) -> dict[str, Any]:
    if isinstance(row, RegisterAgentInstanceRequest):
        values = msgspec.structs.asdict(row)
        return {name: value for name, value in values.items() if value is not UNSET}
    unknown = row.keys() - _FIELDS
    if unknown:
        raise ValueError(
            f"unknown field {', '.join(sorted(map(repr, unknown)))}; "
            f"allowed are {', '.join(sorted(_FIELDS))}"
        )
    return {**row}


def _derived(job: str, index: int, fields: dict[str, Any], own: bytes) -> str:
    for name in ("id", "external_identifier"):
        value = fields.get(name)
        if value is not None:
            return derive_key("register", job, name, str(value))
    return derive_key("register", job, index, own)


def _group_of(item: Any, group: Group) -> Hashable:
    if group is None:
        return None
    name: Hashable
    if callable(group):
        name = group(item)
    else:
        fields = _named(item)
        if group not in fields:
            raise ValueError(f"there is no {group} to group by")
        name = fields[group]
    hash(name)  # a TypeError where it cannot be compared
    return name


def _named(item: Any) -> dict[str, Any]:
    if isinstance(item, RegisterAgentInstanceRequest):
        return _fields_of(item)
    return vars(item) if isinstance(item, BulkItem) else item


def _refused(index: int, key: str | None, group: Hashable, error: Exception) -> Entry:
    plain = ValueError("it refers to itself") if isinstance(error, RecursionError) else error
    return Entry(index, key or "", _REGISTER, b"", group, refusal=plain.with_traceback(None))
