"""The file that ``prefactor-http register`` reads: the fields of a register, as JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NoReturn

import msgspec

from prefactor_http._bulk.rows import given_fields
from prefactor_http.cli.errors import WrongUsage
from prefactor_http.cli.register.unknown_keys import KeyCheck, suggestion
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)
from prefactor_http.models.types import InstancePurpose

_STDIN = "<stdin>"
_WHOLE = (
    "The file holds one JSON object with agent_version and agent_schema_version, unless "
    "--agent-version and --schema give them; nothing was sent."
)
_MANY = "For a row a line, give --format jsonl, or --format csv."
_PART = "The file holds one JSON object, with at least an external_identifier; nothing was sent."

PARTS: dict[str, type[msgspec.Struct]] = {
    "agent_version": AgentVersionForRegister,
    "agent_schema_version": AgentSchemaVersionForRegister,
}
"""The fields that hold an object, each with its model; every instance registers with both."""


class RegisterFile(msgspec.Struct, kw_only=True):
    """The fields of a register (contract §7.1), as `RegisterAgentInstanceRequest` has them."""

    agent_version: AgentVersionForRegister | None = None
    agent_schema_version: AgentSchemaVersionForRegister | None = None
    agent_id: str | None = None
    environment_id: str | None = None
    id: str | None = None
    external_identifier: str | None = None
    purpose: InstancePurpose | None = None
    update_current_version: bool | None = None
    idempotency_key: str | None = None


_FIELDS = frozenset(RegisterFile.__struct_fields__)


def name_of(file: BinaryIO) -> str:
    """Say what messages call a file."""
    name = getattr(file, "name", _STDIN)
    return "standard input" if name == _STDIN else str(name)


def known_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a register as they are sent, without those that are null or blank.

    Raises:
        TypeError: An id or a name is not text.
        ValueError: A field is not known.
    """
    if not fields.keys() <= _FIELDS:
        first = next(field for field in fields if field not in _FIELDS)
        known = RegisterFile.__struct_fields__
        raise ValueError(f"contains unknown field `{first}`{suggestion(first, known)}")
    return given_fields(fields)


def check_keys(fields: dict[str, Any], key_check: KeyCheck) -> list[str]:
    """Check the keys of the objects in a register's fields.

    Returns:
        A warning for each unknown key.

    Raises:
        ValueError: A key resembles a known one.
    """
    return [
        warning
        for field, kind in PARTS.items()
        if field in fields
        for warning in key_check.check(fields[field], kind, field)
    ]


def check_fields(fields: dict[str, Any], required: Iterable[str]) -> None:
    """Check the types of a register's fields.

    Args:
        fields: The fields, as `known_fields` gives them.
        required: Fields that must be among them.

    Raises:
        ValueError: A field is missing, or of a wrong type.
    """
    msgspec.convert(fields, RegisterFile)
    for field in required:
        if field not in fields:
            raise ValueError(f"Object missing required field `{field}`")


def problem_text(error: TypeError | ValueError) -> str:
    """Say what is wrong with fields, the name of the field first."""
    if not isinstance(error, msgspec.ValidationError):
        return str(error)
    problem, _, place = str(error).partition(" - at ")
    field = place.strip("`").removeprefix("$.")
    return f"{field}: {problem}" if field else problem


def read_register_file(
    file: BinaryIO, name: str, shared: dict[str, Any], key_check: KeyCheck
) -> tuple[dict[str, Any], list[str]]:
    """Read and check a file with one instance.

    Args:
        file: The file, open; standard input too.
        name: What messages call it.
        shared: Fields that it takes where it lacks them.
        key_check: Checks the keys of the objects in it.

    Returns:
        Its fields, nested objects as the file has them, and warnings.

    Raises:
        WrongUsage: It is not JSON, or a field is wrong; the message has the line or the field.
    """
    value = _json_of(file, name, _WHOLE)

    def check() -> tuple[dict[str, Any], list[str]]:
        own = known_fields(msgspec.convert(value, dict[str, Any]))
        warnings = check_keys(own, key_check)
        fields = {**shared, **own}
        check_fields(fields, PARTS)
        return fields, warnings

    return _or_wrong_usage(check, name, _WHOLE)


def read_part(file: BinaryIO, field: str, key_check: KeyCheck) -> tuple[dict[str, Any], list[str]]:
    """Read and check a file that holds one field of a register.

    Args:
        file: The file.
        field: Which field it holds.
        key_check: Checks its keys.

    Returns:
        The field, as the file has it, and warnings.

    Raises:
        WrongUsage: It is not JSON, or something in it is wrong.
    """
    name = name_of(file)
    part: dict[str, Any] = _json_of(file, name, _PART)

    def check() -> tuple[dict[str, Any], list[str]]:
        warnings = key_check.check(part, PARTS[field], field)
        msgspec.convert(part, PARTS[field])
        return part, warnings

    return _or_wrong_usage(check, name, _PART)


def _or_wrong_usage(
    check: Callable[[], tuple[dict[str, Any], list[str]]], name: str, advice: str
) -> tuple[dict[str, Any], list[str]]:
    try:
        fields, warnings = check()
    except (TypeError, ValueError) as exc:
        raise WrongUsage(f"{name}: {problem_text(exc)}", advice) from None
    return fields, [f"{name}: {warning}" for warning in warnings]


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
    except (OSError, EOFError, zlib.error) as exc:
        raise WrongUsage(f"{name} cannot be read: {exc}.", "Nothing was sent.") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
