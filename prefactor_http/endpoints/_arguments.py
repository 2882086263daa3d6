"""Checks of arguments before any I/O. Messages say what is wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from msgspec import UNSET, Struct, UnsetType

from prefactor_http._http.clock import Clock
from prefactor_http._values.plain import as_text, check_unicode, is_nan
from prefactor_http.models._unknown_keys import unknown_keys_of
from prefactor_http.models.dicts import AgentSchemaVersionInput, AgentVersionInput
from prefactor_http.models.registration import (
    AgentSchemaVersionForRegister,
    AgentVersionForRegister,
)

S = TypeVar("S", bound=Struct)
T = TypeVar("T", bound=str)

_VERSION = (dict, AgentVersionForRegister, Mapping)
_SCHEMA = (dict, AgentSchemaVersionForRegister, Mapping)


def text(value: str, name: str) -> str:
    """Check a required text. A subclass of str or an enum member becomes a plain str.

    Raises:
        TypeError: The value is not text.
        ValueError: The text is blank or not Unicode.
    """
    value = filter_text(value, name)
    if not value or value.isspace():
        raise ValueError(f"{name} must not be blank")
    return value


def filter_text(value: str, name: str) -> str:
    """Check a text that may be blank, like `text`."""
    given = as_text(value)
    if given is None:
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not given.isascii():
        check_unicode(given, name)
    return given


def optional_text(value: str | None, name: str) -> str | UnsetType:
    return UNSET if value is None else text(value, name)


def json_object(value: Mapping[str, object] | None, name: str) -> dict[str, Any] | UnsetType:
    if value is None:
        return UNSET
    if isinstance(value, dict):
        return value
    if isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] # not every caller uses a type checker
        return dict(value)
    raise TypeError(f"{name} must be a dict or None, not {type(value).__name__}")


def resource_fields(
    value: S | Mapping[str, object], name: str, struct: type[S]
) -> S | Mapping[str, object]:
    """Check the fields of a resource. A dict is sent unchanged, and its unknown keys are logged."""
    if isinstance(value, struct):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict or {struct.__name__}, not {type(value).__name__}")
    unknown_keys_of(struct).log_in(value)
    return value


def timestamp_or_now(given: datetime | None, clock: Clock) -> datetime:
    """Return the caller's timestamp in UTC, or the current time.

    The current time is sent explicitly, so that a late retry does not move the event (contract §5).

    Raises:
        TypeError: The timestamp is not a datetime.
        ValueError: The timestamp has no time zone.
    """
    return clock.utcnow() if given is None else to_utc(given, "timestamp")


def to_utc(given: datetime, name: str) -> datetime:
    if not isinstance(given, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] # as above
        raise TypeError(f"{name} must be a datetime, not {type(given).__name__}")
    if is_nan(given):
        raise ValueError(f"{name} must be a timestamp, not NaT")
    if given.utcoffset() is None:
        raise ValueError(
            f"{name} has no time zone: give it one, such as datetime.now(timezone.utc)"
        )
    return given.astimezone(UTC)


def optional_timestamp(given: datetime | None, name: str) -> datetime | UnsetType:
    return UNSET if given is None else to_utc(given, name)


def one_of(value: T | None, name: str, allowed: tuple[str, ...]) -> T | None:
    """Check a value of an enum of the API; None stands for the API's default."""
    if value is None:
        return None
    given = value if type(value) is str else as_text(value)
    if given not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return cast("T", given)


def versions(
    agent_id: object,
    agent_version: AgentVersionInput | None,
    agent_schema_version: AgentSchemaVersionInput | None,
) -> tuple[
    AgentVersionForRegister | dict[str, Any], AgentSchemaVersionForRegister | dict[str, Any]
]:
    """Check the versions of a registration, and log the unknown keys of dicts.

    Raises:
        TypeError: A version is missing, or is neither a mapping nor its Struct.
    """
    if isinstance(agent_version, _VERSION) and isinstance(agent_schema_version, _SCHEMA):
        return (
            _version(agent_version, AgentVersionForRegister),
            _version(agent_schema_version, AgentSchemaVersionForRegister),
        )
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


# Most programs pass the same dict to every register: its keys are checked once. Keys that are added
# to it later are sent, but not logged.
_last_checked: dict[type[Struct], object] = {}


def _version(value: object, struct: type[S]) -> Any:
    if value is _last_checked.get(struct):
        return value
    if isinstance(value, struct):
        return value
    if not isinstance(value, dict):
        value = dict(cast("Mapping[str, object]", value))
    unknown_keys_of(struct).log(cast("dict[str, object]", value))
    _last_checked[struct] = value
    return cast("object", value)
