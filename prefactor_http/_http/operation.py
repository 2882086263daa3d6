"""An operation of the API: verb, path, response, and what is known about its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, cast, get_origin
from urllib.parse import quote

from msgspec.json import Decoder

from prefactor_http._http.identity import (
    Sent,
    contradiction,
    list_contradiction,
    sent_by_item,
    sent_by_request,
)
from prefactor_http.models.base import ApiResponse, ListResponse

PREFIX = "/api/v1"

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


Fields = Mapping[str, Any]
"""The JSON fields that a write sent."""


class Applied(Enum):
    """Whether a write was applied."""

    YES = auto()
    NO = auto()
    UNKNOWN = auto()


class Envelope(Protocol[R_co]):
    """The outer shape of a response."""

    @property
    def result(self) -> R_co:
        """The part of the response that the caller of the operation gets."""
        ...


class Reconciliation(Generic[T]):
    """How the outcome of an operation is verified.

    Args:
        read: Operation that reads the resource by its id.
        was_applied: Compares the JSON fields that were sent with the resource that was read.
        creates: Whether the operation creates the resource, under an id that the caller may
            choose; otherwise it moves an existing one to another state.
        fallback: Operation that lists spans, for spans that cannot be read by id.
    """

    def __init__(
        self,
        read: Operation[T],
        was_applied: Callable[[Fields, T], Applied],
        *,
        creates: bool = False,
        fallback: Operation[Any] | None = None,
    ) -> None:
        self.read = read
        self.was_applied = was_applied
        self.creates = creates
        self.fallback = fallback


class Operation(Generic[T]):
    """One operation of the API.

    Attributes:
        name: Name in this client, such as ``agent_instances.start``.
        method: HTTP verb.
        path: Path, with the id in braces.
        path_field: Name of the id in the path, or None.
        reply: Type of a successful response; its ``result`` is the result of the call.
        bulk: ``_type`` in a bulk request, where it has one (contract §9).
        reconciliation: How an unknown outcome is verified, where it can be.
        states_before: States that a success moves the resource out of.
        carries_items: Whether the body holds calls, each with a key and an outcome of its own.
        repeatable: Whether the API documents an idempotency key for the operation. If not, no key
            is sent, and a call is never repeated after an attempt whose outcome is unknown.
        sends_key: Whether the body has an idempotency key at its top level.
        has_secret: Whether a response may hold a secret, so that errors quote nothing of it.
        is_anonymous: Whether a request of this operation names nothing that its response has to
            repeat; set for operations that create resources in numbers.
    """

    is_retried_elsewhere = False
    """Whether a failure is only a step of a longer work, which retries it and reports the end."""

    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        reply: type[Envelope[T]],
        *,
        bulk: str | None = None,
        reconciliation: Reconciliation[T] | None = None,
        states_before: frozenset[str] = frozenset(),
        carries_items: bool = False,
        repeatable: bool = True,
        has_secret: bool = False,
        is_anonymous: Callable[[Any], bool] | None = None,
    ) -> None:
        self.name = name
        self.method = method
        self.path = path
        self.reply = reply
        self.bulk = bulk
        self.reconciliation = reconciliation
        self.states_before = states_before
        self.carries_items: bool = carries_items
        self.repeatable: bool = repeatable
        self.sends_key: bool = repeatable and not carries_items
        self.has_secret: bool = has_secret
        self.is_anonymous = is_anonymous
        # The items of a bulk request are checked one by one.
        self._is_checked = not carries_items
        self._is_plain = get_origin(reply) is ApiResponse
        self._is_list = get_origin(reply) is ListResponse
        self._before, brace, rest = (PREFIX + path).partition("{")
        field, _, after = rest.partition("}")
        self.path_field: str | None = field if brace else None
        self._after = after if brace else None

    @cached_property
    def _decoder(self) -> Decoder[Envelope[T]]:
        # Made with the first reply: start-up pays for none.
        return Decoder(self.reply)

    def decode(self, body: bytes) -> T:
        """Decode a successful response.

        Raises:
            msgspec.DecodeError: The response breaks the contract; the message names the field.
        """
        return self._decoder.decode(body).result

    def result_of(self, details: object) -> T:
        """Make the result that a response with this resource would have had."""
        return cast("T", cast("Any", self.reply)(details=details).result)

    def contradiction(
        self,
        request: object,
        resource_id: str | None,
        params: Mapping[str, str] | None,
        result: T,
    ) -> str | None:
        """Say how a successful response contradicts its call; see `_identity`.

        Args:
            request: The body as a Struct; None for a read.
            resource_id: The id in the path, if it has one.
            params: Query parameters.
            result: The result in the response.
        """
        # First what nearly every call is, at the least cost.
        if resource_id is not None:
            if self._answers(resource_id, result):
                return None
        elif not self._is_checked or (self.is_anonymous is not None and self.is_anonymous(request)):
            return None
        if self._is_list:
            return list_contradiction(params or {}, cast("ListResponse[Any]", result).summaries)
        if params and resource_id is None:
            sent = sent_by_item({**params, "id": params.get("agent_id")}, None)
        else:
            sent = sent_by_request(request, resource_id)
        return contradiction(sent, self.details_of(result), self.states_before)

    def details_of(self, result: Any) -> Any:
        """Return the resource in a result."""
        return result if self._is_plain else result.details

    def _answers(self, resource_id: str, result: Any) -> bool:
        """Whether a response is about this very id and in no state before the call."""
        details = self.details_of(result)
        return details.id == resource_id and (
            not self.states_before or details.status not in self.states_before
        )

    def sent_by_item(self, fields: Mapping[str, Any]) -> Sent:
        """Find what the output of a bulk item of this operation has to repeat."""
        return sent_by_item(fields, self.path_field)

    def path_for(self, resource_id: str | None) -> str:
        """Fill in the id that the path needs.

        Args:
            resource_id: The id, in any characters; None where the path needs none.

        Returns:
            The path, percent-encoded.

        Raises:
            TypeError: The id is not a str.
            ValueError: The id is empty, or would be taken for a step in the path.
        """
        if self._after is None:
            return self._before
        if not isinstance(resource_id, str):
            raise TypeError(f"{self.name}: an id must be a str, not {type(resource_id).__name__}")
        if resource_id in {"", ".", ".."}:
            raise ValueError(f"{self.name}: {resource_id!r} is not an id")
        # The API's own ids need no quoting, which takes 1 % of a call.
        if not (resource_id.isascii() and resource_id.isalnum()):
            resource_id = quote(resource_id, safe="")
        return self._before + resource_id + self._after


class UncheckedOperation(Operation[T]):
    """An operation whose response does not name the resource that the call is about."""

    def contradiction(
        self,
        request: object,
        resource_id: str | None,
        params: Mapping[str, str] | None,
        result: T,
    ) -> None:
        """Accept every successful response."""


class DeleteOperation(Operation[T | None]):
    """A deletion. Its successful response may be empty, because no result is needed."""

    def decode(self, body: bytes) -> T | None:
        """Decode a successful response."""
        return super().decode(body) if body else None

    def contradiction(
        self,
        request: object,
        resource_id: str | None,
        params: Mapping[str, str] | None,
        result: T | None,
    ) -> str | None:
        """Say how a successful response contradicts its call."""
        if result is None:
            return None
        return super().contradiction(request, resource_id, params, result)


class RawOperation(Operation[dict[str, Any]]):
    """A call by verb and path; its result is the response, any JSON object."""

    def __init__(self, name: str, method: str, path: str) -> None:
        self.name = name
        self.method = method
        self.path = path
        self.path_field = None
        self.bulk = None
        self.reconciliation = None
        self.states_before = frozenset[str]()
        self.carries_items = False
        self.repeatable = True
        self.sends_key = True
        self.has_secret = False
        self.is_anonymous = None
        self._is_checked = False  # what the response has to repeat is not known

    @cached_property
    def _object_decoder(self) -> Decoder[dict[str, Any]]:
        return Decoder(dict[str, Any])

    def decode(self, body: bytes) -> dict[str, Any]:
        """Decode a successful response: any JSON object."""
        return self._object_decoder.decode(body)
