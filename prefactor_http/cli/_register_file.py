"""The file that ``prefactor-http register`` reads: a register's fields, as JSON."""

from __future__ import annotations

import json
from typing import Any, BinaryIO, NoReturn, cast

import msgspec

from prefactor_http.cli._output import WrongUsage
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)
from prefactor_http.models.types import InstancePurpose

_STDIN = "<stdin>"
_WHOLE = (
    "The file holds one JSON object with agent_version and agent_schema_version; nothing was sent."
)
_MANY = "For a row a line, give --format jsonl, or --format csv."
_PART = "The file holds one JSON object, with at least an external_identifier; nothing was sent."


class RegisterFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a register (contract §7.1), as `RegisterAgentInstanceRequest` has them."""

    agent_version: AgentVersionForRegister
    agent_schema_version: AgentSchemaVersionForRegister
    agent_id: str | None = None
    environment_id: str | None = None
    id: str | None = None
    external_identifier: str | None = None
    purpose: InstancePurpose | None = None
    update_current_version: bool | None = None
    idempotency_key: str | None = None


def name_of(file: BinaryIO) -> str:
    """Say what messages call a file."""
    name = getattr(file, "name", _STDIN)
    return "standard input" if name == _STDIN else str(name)


def read_register_file(
    file: BinaryIO, name: str, shared: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read and check a file.

    Args:
        file: The file, open; standard input too.
        name: What messages call it.
        shared: Fields that it takes where it lacks them.

    Returns:
        Its fields. Nested objects are as the file has them, keys that this release does not know
        included: the API may know them.

    Raises:
        WrongUsage: It is not JSON, or a field is wrong; the message has the line or the field.
    """
    fields = _json_of(file, name, _WHOLE)
    if isinstance(fields, dict):
        fields = {**(shared or {}), **cast("dict[str, Any]", fields)}
    try:
        msgspec.convert(fields, RegisterFile)
    except msgspec.ValidationError as exc:
        raise WrongUsage(f"{name}{_told(exc)}", _WHOLE) from None
    return {field: value for field, value in fields.items() if value is not None}


def read_part(file: BinaryIO, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Read and check a file that holds one field of a register.

    Args:
        file: The file.
        kind: What it must hold.

    Returns:
        The field, as the file has it.

    Raises:
        WrongUsage: It is not JSON, or something in it is wrong.
    """
    name = name_of(file)
    part: dict[str, Any] = _json_of(file, name, _PART)
    try:
        msgspec.convert(part, kind)
    except msgspec.ValidationError as exc:
        raise WrongUsage(f"{name}{_told(exc)}", _PART) from None
    return part


def _json_of(file: BinaryIO, name: str, advice: str) -> Any:
    try:
        return json.loads(file.read(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno}, column {exc.colno}"
        # More than one value: most likely a row a line.
        many = (_MANY,) if exc.msg == "Extra data" and advice is _WHOLE else ()
        raise WrongUsage(f"{name}, {place}: {exc.msg}", *many, advice) from None
    except (UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise WrongUsage(f"{name}: not JSON: {exc}", advice) from None


def _told(error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at ")
    field = place.strip("`").removeprefix("$.")
    return f", {field}: {problem}" if field else f": {problem}"


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
