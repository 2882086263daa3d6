"""What the API answers: a success or an error envelope (contract §2, §3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, Any]

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_SERVER_ERROR = 500
_NO_SIBLINGS: Mapping[str, object] = {}


class Success(msgspec.Struct, frozen=True):
    """A success envelope, frozen as it was when the call took effect.

    Attributes:
        details: The resource as encoded then; none for lists.
        siblings: What stands beside ``details``.
        resource_id: The resource that the call concerns.
        control_of: The instance whose termination the reply has to signal (contract §8.1). It is
            looked up whenever the reply goes out, so that a replay is not out of date.
    """

    details: msgspec.Raw | None
    siblings: Mapping[str, object] = _NO_SIBLINGS
    resource_id: str | None = None
    control_of: str | None = None

    def envelope(self) -> JsonObject:
        """Return the reply's body, without control signal."""
        envelope: JsonObject = {"status": "success"}
        if self.details is not None:
            envelope["details"] = self.details
        envelope.update(self.siblings)
        return envelope


def details(
    resource: JsonObject,
    siblings: Mapping[str, object] = _NO_SIBLINGS,
    *,
    control_of: str | None = None,
) -> Success:
    """Answer with a resource as it is now."""
    return Success(msgspec.Raw(encode(resource)), siblings, resource["id"], control_of)


class ApiError(Exception):
    """A refusal.

    Attributes:
        status: HTTP status.
        code: The API's error code.
        message: For people.
        errors: Field to messages, for ``validation_errors``.
        retry_after: Seconds for the header of that name.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        errors: Mapping[str, list[str]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors
        self.retry_after = retry_after

    def envelope(self) -> JsonObject:
        """Return the reply's body."""
        envelope: JsonObject = {"status": "error", "code": self.code, "message": self.message}
        if self.errors is not None:
            envelope["errors"] = self.errors
        return envelope

    @property
    def is_final(self) -> bool:
        """Whether sending the same request again is pointless."""
        return (
            self.code not in {"idempotency_in_progress", "rate_limited"}
            and self.status < _SERVER_ERROR
        )


def bad_request(message: str) -> ApiError:
    """400: the request cannot be read."""
    return ApiError(400, "bad_request", message)


def bad_token() -> ApiError:
    """401: no token, or one that may not do this."""
    return ApiError(401, "bad_authtoken", "The API token is missing, unknown or not active.")


def forbidden(message: str) -> ApiError:
    """403: the token is good, but not for this."""
    return ApiError(403, "forbidden", message)


def not_found(what: str) -> ApiError:
    """404: no such resource in this account."""
    return ApiError(404, "not_found", f"{what} was not found.")


def invalid_action(message: str) -> ApiError:
    """409: the resource's state does not allow it."""
    return ApiError(409, "invalid_action", message)


def invalid(errors: Mapping[str, list[str]]) -> ApiError:
    """422: fields are missing or wrong."""
    return ApiError(422, "validation_errors", "The request has invalid fields.", errors)


def invalid_field(field: str, message: str) -> ApiError:
    """422 for one field."""
    return invalid({field: [message]})
