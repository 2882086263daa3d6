"""Reads and validates the fields of a request, and collects all errors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from prefactor_http import _pfid
from prefactor_http.testing.resources.response import JsonObject, invalid

_REQUIRED = "is required"


class Fields:
    """The fields of one request.

    A getter records an error and returns a value of the right type, so that ``check()`` can report
    all errors together. Null counts as absent; use ``has`` to distinguish them.
    """

    __slots__ = ("_errors", "_prefix", "_values")

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        prefix: str = "",
        errors: dict[str, list[str]] | None = None,
    ) -> None:
        self._values = values
        self._prefix = prefix
        self._errors: dict[str, list[str]] = {} if errors is None else errors

    def check(self) -> None:
        """Raise an error if any field is invalid.

        Raises:
            ApiError: 422 ``validation_errors`` with the messages of each field.
        """
        if self._errors:
            raise invalid(self._errors)

    def refuse(self, name: str, message: str) -> None:
        """Record an error for a field."""
        self._errors.setdefault(self._prefix + name, []).append(message)

    def has(self, name: str) -> bool:
        """Return whether the field is present, including null."""
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def within(self, name: str) -> Fields | None:
        """Return the fields of a nested object; their errors are recorded here."""
        value = self.mapping(name)
        if value is None:
            return None
        return Fields(value, prefix=f"{self._prefix}{name}.", errors=self._errors)

    def required_within(self, name: str) -> Fields:
        """Return the fields of a required nested object."""
        value = self.required_mapping(name)
        return Fields(value, prefix=f"{self._prefix}{name}.", errors=self._errors)

    def value(self, name: str) -> Any:
        """Return a field without validation."""
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            self.refuse(name, "must be a string")
            return None
        return value

    def required_text(self, name: str) -> str:
        """Return a required string that is not blank."""
        value = self.text(name)
        if self._values.get(name) is None:
            self.refuse(name, _REQUIRED)
        elif value is not None and not value.strip():
            self.refuse(name, "can't be blank")
        return value or ""

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, f"must be one of {', '.join(sorted(allowed))}")
            return None
        return value

    def required_choice(self, name: str, allowed: Collection[str]) -> str:
        if self._values.get(name) is None:
            self.refuse(name, _REQUIRED)
        return self.choice(name, allowed) or ""

    def mapping(self, name: str) -> JsonObject | None:
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, "must be an object")
            return None
        return cast("JsonObject | None", value)

    def required_mapping(self, name: str) -> JsonObject:
        if self._values.get(name) is None:
            self.refuse(name, _REQUIRED)
        return self.mapping(name) or {}

    def objects(self, name: str) -> list[Fields]:
        """Return the fields of each object in a list; their errors are recorded here."""
        value = self.value(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(name, "must be a list")
            return []
        items = cast("list[object]", value)
        found: list[Fields] = []
        for position, item in enumerate(items):
            if isinstance(item, dict):
                prefix = f"{self._prefix}{name}.{position}."
                found.append(Fields(cast("JsonObject", item), prefix=prefix, errors=self._errors))
            else:
                self.refuse(f"{name}.{position}", "must be an object")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean; in a query string, ``true`` or ``false``."""
        value = self.value(name)
        if value is None:
            return default
        if value in ("true", "false"):
            return bool(value == "true")
        if not isinstance(value, bool):
            self.refuse(name, "must be a boolean")
            return default
        return value

    def integer(self, name: str, *, default: int, at_least: int, at_most: int | None = None) -> int:
        """Return an integer; in a query string, decimal digits."""
        value = self.value(name)
        if value is None:
            return default
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, "must be an integer")
            return default
        if value < at_least or (at_most is not None and value > at_most):
            bounds = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
            self.refuse(name, f"must be {bounds}")
            return default
        return value

    def moment(self, name: str) -> datetime | None:
        """Return a timestamp in UTC. It must have a time zone (contract §5)."""
        value = self.value(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            self.refuse(name, "invalid_value: must be an ISO 8601 timestamp")
            return None
        if moment.tzinfo is None:
            self.refuse(name, "invalid_value: must have a time zone")
            return None
        return moment.astimezone(UTC)

    def pfid(self, name: str, *, partition: int) -> str | None:
        """Return an id supplied by the caller. It must have the account's partition."""
        value = self.text(name)
        if value is None:
            return None
        if not _pfid.is_valid(value):
            self.refuse(name, "must be a PFID")
            return None
        if _pfid.partition_of(value) != partition:
            self.refuse(name, "has the partition of another account")
            return None
        return value


def as_text(moment: datetime) -> str:
    """Format a timestamp as in responses: UTC with ``Z`` and microseconds."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
