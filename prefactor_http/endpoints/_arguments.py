"""Checks of what callers pass, before any I/O: what was wrong, what is allowed."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from msgspec import UNSET, Struct, UnsetType

from prefactor_http._http.clock import Clock
from prefactor_http._values import as_text, is_nan
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)

S = TypeVar("S", bound=Struct)
T = TypeVar("T", bound=str)

_VERSION = (dict, AgentVersionForRegister)
_SCHEMA = (dict, AgentSchemaVersionForRegister)


def text(value: str, name: str) -> str:
    """Check a text that the API needs; a subclass of str or an enum member becomes a plain str.

    Raises:
        TypeError: It is no text.
        ValueError: It is blank.
    """
    if type(value) is not str:
        value = filter_text(value, name)
    if not value or value.isspace():
        raise ValueError(f"{name} must not be blank")
    return value


def filter_text(value: str, name: str) -> str:
    """Check a text that may be blank; see `text`."""
    given = as_text(value)
    if given is None:
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return given


def optional_text(value: str | None, name: str) -> str | UnsetType:
    """Check a text that may be left out; see `text`."""
    return UNSET if value is None else text(value, name)


def json_object(value: Mapping[str, Any] | None, name: str) -> dict[str, Any] | UnsetType:
    """Check a JSON object that may be left out.

    Raises:
        TypeError: It is neither a dict nor another mapping.
    """
    if value is None:
        return UNSET
    if isinstance(value, dict):
        return value
    if isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        return dict(value)
    raise TypeError(f"{name} must be a dict or None, not {type(value).__name__}")


def resource_fields(value: S | dict[str, Any], name: str, struct: type[S]) -> S | dict[str, Any]:
    """Check the fields of a resource: a dict goes out as it is.

    Raises:
        TypeError: They are neither a dict nor their Struct.
    """
    if not isinstance(value, (dict, struct)):
        raise TypeError(f"{name} must be a dict or {struct.__name__}, not {type(value).__name__}")
    return value


def moment(given: datetime | None, clock: Clock, name: str = "timestamp") -> datetime:
    """Take the caller's moment, or now: a late retry must not move the event (contract §5).

    Args:
        given: The caller's moment, or None.
        clock: Where now comes from.
        name: What the message calls it.

    Returns:
        The moment in UTC, which is written with a ``Z``.

    Raises:
        TypeError: It is not a datetime.
        ValueError: It has no zone: nobody could tell which moment is meant.
    """
    return clock.utcnow() if given is None else in_utc(given, name)


def in_utc(given: datetime, name: str) -> datetime:
    """Check a caller's moment; see `moment`."""
    if not isinstance(given, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] # callers err
        raise TypeError(f"{name} must be a datetime, not {type(given).__name__}")
    if is_nan(given):
        raise ValueError(f"{name} must be a moment, not NaT")
    if given.utcoffset() is None:
        raise ValueError(
            f"{name} has no time zone: give it one, such as datetime.now(timezone.utc)"
        )
    return given.astimezone(UTC)


def optional_moment(given: datetime | None, name: str) -> datetime | UnsetType:
    """Check a caller's moment that may be left out; see `moment`."""
    return UNSET if given is None else in_utc(given, name)


def one_of(value: T | None, name: str, allowed: tuple[str, ...]) -> T | None:
    """Check a value that the API defines; None stands for its default.

    Returns:
        The value, as a plain str.

    Raises:
        ValueError: It is another one; the message lists those allowed.
    """
    if value is None:
        return None
    given = value if type(value) is str else as_text(value)
    if given not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return cast("T", given)


def whole_number(value: int | None, name: str, least: int, most: int | None) -> int | None:
    """Check a number that may be left out; one of numpy, or an enum member, becomes a plain int.

    Raises:
        TypeError: It is no integer.
        ValueError: It is out of range.
    """
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if number < least or (most is not None and number > most):
        bounds = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise ValueError(f"{name} must be {bounds}, got {number}")
    return number


def versions(
    agent_id: object,
    agent_version: AgentVersionForRegister | dict[str, Any] | None,
    agent_schema_version: AgentSchemaVersionForRegister | dict[str, Any] | None,
) -> tuple[
    AgentVersionForRegister | dict[str, Any], AgentSchemaVersionForRegister | dict[str, Any]
]:
    """Check what an instance is registered with.

    Raises:
        TypeError: A version is missing or is neither a dict nor its Struct.
    """
    if isinstance(agent_version, _VERSION) and isinstance(agent_schema_version, _SCHEMA):
        return agent_version, agent_schema_version
    if isinstance(agent_id, Mapping):
        raise TypeError(
            "register takes agent_id first, then agent_version and agent_schema_version; "
            "pass agent_version=… and agent_schema_version=… by name"
        )
    wrong: tuple[str, object, type] = (
        ("agent_schema_version", agent_schema_version, AgentSchemaVersionForRegister)
        if isinstance(agent_version, _VERSION)
        else ("agent_version", agent_version, AgentVersionForRegister)
    )
    name, value, struct = wrong
    problem = "it is missing" if value is None else f"not {type(value).__name__}"
    raise TypeError(f"{name} must be a dict or {struct.__name__}, {problem}")
