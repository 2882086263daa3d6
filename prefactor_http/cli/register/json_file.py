"""Reads the JSON files of ``prefactor-http register``: one instance, or a part that rows share."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import msgspec

from prefactor_http.cli.errors import InputError
from prefactor_http.cli.register.fields import (
    PARTS,
    check_fields,
    check_keys,
    error_message,
    known_fields,
)
from prefactor_http.cli.register.unknown_keys import KeyCheck

_STDIN = "<stdin>"
_INSTANCE_FORM = (
    "The file must hold one JSON object with agent_version and agent_schema_version, unless "
    "--agent-version and --schema provide them; nothing was sent."
)
_PART_FORM = (
    "The file must hold one JSON object, with at least an external_identifier; nothing was sent."
)
_MANY_ROWS = "If each line is a row, add --format jsonl; for CSV, add --format csv."


def file_name(file: BinaryIO) -> str:
    """Return the name of a file in messages."""
    name = getattr(file, "name", _STDIN)
    return "standard input" if name == _STDIN else str(name)


def read_instance(
    file: BinaryIO, name: str, shared: dict[str, Any], key_check: KeyCheck
) -> tuple[dict[str, Any], list[str]]:
    """Read and check a file with one instance.

    Args:
        file: The file.
        name: Its name in messages.
        shared: Fields that it takes if it lacks them.
        key_check: Checks the keys of its objects.

    Returns:
        Its fields, and warnings.

    Raises:
        InputError: It is not JSON, or a field is wrong; the message has the line or the field.
    """
    value = _read_json(file, name, _INSTANCE_FORM)

    def check() -> tuple[dict[str, Any], list[str]]:
        own = known_fields(msgspec.convert(value, dict[str, Any]))
        warnings = check_keys(own, key_check)
        fields = {**shared, **own}
        check_fields(fields, PARTS)
        return fields, warnings

    return _checked(check, name, _INSTANCE_FORM)


def read_part(file: BinaryIO, field: str, key_check: KeyCheck) -> tuple[dict[str, Any], list[str]]:
    """Read and check a file with the value of one field, such as ``agent_version``.

    Args:
        file: The file.
        field: The field.
        key_check: Checks the keys of the value.

    Returns:
        The value, and warnings.

    Raises:
        InputError: It is not JSON, or something in it is wrong.
    """
    name = file_name(file)
    part: dict[str, Any] = _read_json(file, name, _PART_FORM)

    def check() -> tuple[dict[str, Any], list[str]]:
        warnings = key_check.check(part, PARTS[field], field)
        msgspec.convert(part, PARTS[field])
        return part, warnings

    return _checked(check, name, _PART_FORM)


def _checked(
    check: Callable[[], tuple[dict[str, Any], list[str]]], name: str, advice: str
) -> tuple[dict[str, Any], list[str]]:
    try:
        fields, warnings = check()
    except (TypeError, ValueError) as exc:
        raise InputError(f"{name}: {error_message(exc)}", advice) from None
    return fields, [f"{name}: {warning}" for warning in warnings]


def _read_json(file: BinaryIO, name: str, advice: str) -> Any:
    try:
        return json.loads(file.read(), parse_constant=_reject_constant)
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno}, column {exc.colno}"
        # More than one JSON value: probably one row per line.
        many = (_MANY_ROWS,) if exc.msg == "Extra data" and advice is _INSTANCE_FORM else ()
        raise InputError(f"{name}, {place}: {exc.msg}", *many, advice) from None
    except (UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise InputError(f"{name}: not JSON: {exc}", advice) from None
    except (OSError, EOFError, zlib.error) as exc:
        raise InputError(f"cannot read {name}: {exc}.", "Nothing was sent.") from None


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
