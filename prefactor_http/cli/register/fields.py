"""The fields of a registration, and how the command checks them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from prefactor_http._bulk.rows import given_fields
from prefactor_http.cli.register.unknown_keys import KeyCheck, suggestion
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)
from prefactor_http.models.types import InstancePurpose

PARTS: dict[str, type[msgspec.Struct]] = {
    "agent_version": AgentVersionForRegister,
    "agent_schema_version": AgentSchemaVersionForRegister,
}
"""The fields that hold an object, with their models. Every registration needs both."""


class RegistrationFields(msgspec.Struct, kw_only=True):
    """The fields of a registration (contract §7.1), as in `RegisterAgentInstanceRequest`."""

    agent_version: AgentVersionForRegister | None = None
    agent_schema_version: AgentSchemaVersionForRegister | None = None
    agent_id: str | None = None
    environment_id: str | None = None
    id: str | None = None
    external_identifier: str | None = None
    purpose: InstancePurpose | None = None
    update_current_version: bool | None = None
    idempotency_key: str | None = None


_FIELDS = frozenset(RegistrationFields.__struct_fields__)


def known_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as they are sent, without those that are null or blank.

    Raises:
        TypeError: An id or a name is not text.
        ValueError: A field is unknown.
    """
    if not fields.keys() <= _FIELDS:
        first = next(field for field in fields if field not in _FIELDS)
        known = RegistrationFields.__struct_fields__
        raise ValueError(f"contains unknown field `{first}`{suggestion(first, known)}")
    return given_fields(fields)


def check_keys(fields: dict[str, Any], key_check: KeyCheck) -> list[str]:
    """Check the keys of the objects in the fields, and return warnings.

    Raises:
        ValueError: An unknown key is similar to a known one.
    """
    return [
        warning
        for field, kind in PARTS.items()
        if field in fields
        for warning in key_check.check(fields[field], kind, field)
    ]


def check_fields(fields: dict[str, Any], required: Iterable[str]) -> None:
    """Check the types of the fields.

    Raises:
        ValueError: A required field is missing, or a field has a wrong type.
    """
    msgspec.convert(fields, RegistrationFields)
    for field in required:
        if field not in fields:
            raise ValueError(f"missing field `{field}`")


def error_message(error: TypeError | ValueError) -> str:
    """Describe an error of the checks, with the name of the field first."""
    if not isinstance(error, msgspec.ValidationError):
        return str(error)
    message, _, path = str(error).partition(" - at ")
    field = path.strip("`").removeprefix("$.")
    return f"{field}: {message}" if field else message
