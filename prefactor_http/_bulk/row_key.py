"""What identifies a row of a job: its own names, or else its place and content."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw

from prefactor_http._http.encoding import canonical
from prefactor_http._values import as_text, is_missing
from prefactor_http.idempotency import derive_from, derive_key
from prefactor_http.models.agent_instance import RegisterAgentInstanceRequest

# What names a row, whatever else it holds and wherever it stands.
NAMES = ("id", "external_identifier")
KEY = "idempotency_key"
_FIELDS = frozenset(RegisterAgentInstanceRequest.__struct_fields__)
_IDS = (*NAMES, "agent_id", "environment_id")
# Fields of a row that hold text; the others hold objects, or a flag.
TEXTS = (*_IDS, "purpose", KEY)


def fields_of(row: object) -> dict[str, Any]:
    """Give the fields of a row as a dict.

    Raises:
        TypeError: It is neither a dict nor a request.
    """
    if isinstance(row, dict):
        # Plain: the encoder passes over the order that an OrderedDict says it has.
        return {**cast("dict[str, Any]", row)}
    if not isinstance(row, RegisterAgentInstanceRequest):
        raise TypeError(
            f"a row must be a dict or RegisterAgentInstanceRequest, not {type(row).__name__}"
        )
    values = msgspec.structs.asdict(row)
    return {name: value for name, value in values.items() if value is not UNSET}


def check_names(fields: Iterable[str]) -> None:
    """Check that a row has no other fields than those of a register.

    Raises:
        ValueError: It has; the message says which are allowed.
    """
    unknown = set(fields) - _FIELDS
    if unknown:
        raise ValueError(
            f"unknown field {', '.join(sorted(map(repr, unknown)))}; "
            f"allowed are {', '.join(sorted(_FIELDS))}"
        )


def given_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Give a row's fields as they are sent.

    None, UNSET, NaN and blank text stand for a field that is left out. Texts are plain, and names
    are without blanks around them, as the API keeps them.

    Args:
        fields: The row.

    Returns:
        The fields, in a dict of their own.

    Raises:
        TypeError: An id or a name is no text.
    """
    given = {name: value for name, value in fields.items() if not is_missing(value)}
    for name in TEXTS:
        text = as_text(given.get(name))
        if text is not None:
            given[name] = text.strip() if name in NAMES else text
        elif name in _IDS and name in given:
            raise TypeError(f"{name} must be a str, not {type(given[name]).__name__}")
    return given


class RowKeys:
    """Derives the keys of a job's rows: the same whenever, and wherever, the job is run.

    Args:
        job: Name of the job.
        partition: Name or number of a partition, within which a row without a name is known by
            its place; None for a job without partitions.

    Raises:
        TypeError: The job is no text, or the partition is neither text nor an int.
        ValueError: One of them is blank.
    """

    def __init__(self, job: str, partition: str | int | None = None) -> None:
        name = as_text(job)
        if name is None:
            raise TypeError(f"job must be a str, not {type(job).__name__}")
        _refuse_blank(name, "job")
        _refuse_blank(as_text(partition), "partition")
        self.by_name = {field: derive_from("register", name, field) for field in NAMES}
        self.by_place = derive_from(
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
        return self.by_place(index, content_of(fields))


def content_of(fields: dict[str, Any]) -> bytes:
    """Encode a row's content, whatever order it is in and whatever types it is of."""
    return canonical(
        {
            name: msgspec.json.decode(value) if isinstance(value, Raw) else value
            for name, value in fields.items()
            if name != KEY
        }
    )


def _refuse_blank(text: str | None, name: str) -> None:
    if text is not None and (not text or text.isspace()):
        raise ValueError(f"{name} must not be blank: rows of other jobs would have the same keys")
