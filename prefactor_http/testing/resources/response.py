"""Success and error envelopes (contract §2, §3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, Any]

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_SERVER_ERROR = 500
_NO_SIBLINGS: Mapping[str, object] = {}


class Success(msgspec.Struct, frozen=True):
    """A success, encoded at the moment of the call so that a replay returns the same bytes.

    Attributes:
        details: The encoded resource; None for lists.
        siblings: The keys beside ``details``.
        resource_id: The resource that was read, created or changed.
        control_of: The instance whose termination the response signals (contract §8.1). The
            signal is computed for each response, so that a replay has the current one.
    """

    details: msgspec.Raw | None
    siblings: Mapping[str, object] = _NO_SIBLINGS
    resource_id: str | None = None
    control_of: str | None = None

    def envelope(self) -> JsonObject:
        """Return the body without the control signal."""
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
    """Return a success with the current state of a resource."""
    return Success(msgspec.Raw(encode(resource)), siblings, resource["id"], control_of)


class ApiError(Exception):
    """An error response of the API.

    Attributes:
        status: HTTP status.
        code: The API's error code.
        message: The human-readable message.
        errors: Messages by field, for ``validation_errors``.
        retry_after: Seconds for the ``Retry-After`` header.
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
        envelope: JsonObject = {"status": "error", "code": self.code, "message": self.message}
        if self.errors is not None:
            envelope["errors"] = self.errors
        return envelope

    @property
    def is_final(self) -> bool:
        """Whether the same request would fail again."""
        return (
            self.code not in {"idempotency_in_progress", "rate_limited"}
            and self.status < _SERVER_ERROR
        )


def bad_request(message: str) -> ApiError:
    """400: the request cannot be parsed."""
    return ApiError(400, "bad_request", message)


def bad_token() -> ApiError:
    """401: the token is missing or lacks access to this action."""
    return ApiError(401, "bad_authtoken", "The API token is missing, unknown or not active.")


def forbidden(message: str) -> ApiError:
    """403: the token is valid but bound to something else."""
    return ApiError(403, "forbidden", message)


def not_found(what: str) -> ApiError:
    """404: the account has no such resource."""
    return ApiError(404, "not_found", f"{what} was not found.")


def invalid_action(message: str) -> ApiError:
    """409: the state of the resource does not allow the action."""
    return ApiError(409, "invalid_action", message)


def invalid(errors: Mapping[str, list[str]]) -> ApiError:
    """422: fields are missing or invalid."""
    return ApiError(422, "validation_errors", "The request has invalid fields.", errors)


def invalid_field(field: str, message: str) -> ApiError:
    """422 for one field."""
    return invalid({field: [message]})
