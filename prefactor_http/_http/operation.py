"""Describes an operation of the API: HTTP method, path, response type, how to verify it."""

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
from prefactor_http._values.plain import check_unicode
from prefactor_http.models.base import ApiResponse, ListResponse

PREFIX = "/api/v1"

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


Fields = Mapping[str, Any]
"""The JSON fields that a write sent."""


class Applied(Enum):
    """Whether the API applied a write."""

    YES = auto()
    NO = auto()
    UNKNOWN = auto()


class Envelope(Protocol[R_co]):
    """A decoded response body."""

    @property
    def result(self) -> R_co:
        """The value that the call returns."""
        ...


class Reconciliation(Generic[T]):
    """How to verify the outcome of a write; see `_http.reconciliation`.

    Args:
        read: Operation that reads the resource by its id.
        was_applied: Compares the JSON fields that were sent with the resource that was read.
        creates: Whether the write creates the resource, under an id that the caller may choose.
            Otherwise it changes the state of an existing one.
        fallback: Operation that lists spans, for servers that cannot read a span by id.
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
        method: HTTP method.
        path: Path, with the id in braces.
        path_field: Name of the id in the path, or None.
        response_type: Type of a successful response; its ``result`` is the result of the call.
        bulk: ``_type`` of the operation in a bulk request (contract §9), or None.
        reconciliation: How to verify an unknown outcome, or None.
        states_before: States that the resource leaves when the operation succeeds.
        carries_items: Whether the body holds items, each with its own key and outcome.
        repeatable: Whether the API documents an idempotency key for the operation. If not, no key
            is sent, and a call is never repeated after an attempt with an unknown outcome.
        sends_key: Whether the body has an idempotency key at its top level.
        is_batchable: Whether the call can be an item of a bulk request, with its own key.
        has_secret: Whether a response may contain a secret, so that errors quote nothing of it.
        is_anonymous: Tells whether a request contains nothing that its response has to repeat. Set
            for operations that create many resources.
    """

    is_retried_elsewhere = False
    """Whether a caller inside the client, such as the bulk engine, retries and reports failures."""

    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        response_type: type[Envelope[T]],
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
        self.response_type = response_type
        self.bulk = bulk
        self.reconciliation = reconciliation
        self.states_before = states_before
        self.carries_items: bool = carries_items
        self.repeatable: bool = repeatable
        self.sends_key: bool = repeatable and not carries_items
        self.is_batchable: bool = bulk is not None and self.sends_key and method != "GET"
        self.has_secret: bool = has_secret
        self.is_anonymous = is_anonymous
        # The bulk engine checks each item.
        self._is_checked = not carries_items
        self._is_plain = get_origin(response_type) is ApiResponse
        self._is_list = get_origin(response_type) is ListResponse
        self._before, brace, rest = (PREFIX + path).partition("{")
        field, _, after = rest.partition("}")
        self.path_field: str | None = field if brace else None
        self._after = after if brace else None

    @cached_property
    def _decoder(self) -> Decoder[Envelope[T]]:
        # Built for the first response, to keep the import fast.
        return Decoder(self.response_type)

    def decode(self, body: bytes) -> T:
        """Decode a successful response.

        Raises:
            msgspec.DecodeError: The body does not match the response type. The message names the
                field.
        """
        return self._decoder.decode(body).result

    def result_of(self, details: object) -> T:
        """Build the result of a call from the resource that its response would contain."""
        return cast("T", cast("Any", self.response_type)(details=details).result)

    def contradiction(
        self,
        request: object,
        resource_id: str | None,
        params: Mapping[str, str] | None,
        result: T,
    ) -> str | None:
        """Describe how a successful response contradicts its call; see `_http.identity`.

        Args:
            request: The body as a Struct; None for a read.
            resource_id: The id in the path, if it has one.
            params: Query parameters.
            result: The result in the response.

        Returns:
            The contradiction in one line, or None.
        """
        # The most frequent kinds of calls first, on the shortest path.
        if resource_id is not None:
            if self._matches(resource_id, result):
                return None
        elif not self._is_checked:
            return None
        if self._is_list:
            return list_contradiction(params or {}, cast("ListResponse[Any]", result).summaries)
        if params and resource_id is None:
            sent = sent_by_item({**params, "id": params.get("agent_id")}, None)
        else:
            sent = sent_by_request(request, resource_id)
        return contradiction(sent, self.details_of(result), self.states_before)

    def details_of(self, result: Any) -> Any:
        return result if self._is_plain else result.details

    def _matches(self, resource_id: str, result: Any) -> bool:
        details = self.details_of(result)
        return details.id == resource_id and (
            not self.states_before or details.status not in self.states_before
        )

    def sent_by_item(self, fields: Mapping[str, Any]) -> Sent:
        """Return what the output of a bulk item of this operation has to repeat."""
        return sent_by_item(fields, self.path_field)

    def path_for(self, resource_id: str | None) -> str:
        """Insert the percent-encoded id into the path.

        Raises:
            TypeError: The id is not a str.
            ValueError: The id is empty, a relative path segment (``.`` or ``..``) or not Unicode.
        """
        if self._after is None:
            return self._before
        if not isinstance(resource_id, str):
            raise TypeError(f"{self.name}: an id must be a str, not {type(resource_id).__name__}")
        if resource_id in {"", ".", ".."}:
            raise ValueError(f"{self.name}: {resource_id!r} is not an id")
        if not resource_id.isascii():
            check_unicode(resource_id, f"{self.name}: an id")
        return self._before + quote(resource_id, safe="") + self._after


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
    """A call by HTTP method and path. Its result is the response body, any JSON object."""

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
        self.is_batchable = False
        self.has_secret = False
        self.is_anonymous = None
        self._is_checked = False  # the client does not know what the response has to repeat

    @cached_property
    def _object_decoder(self) -> Decoder[dict[str, Any]]:
        return Decoder(dict[str, Any])

    def decode(self, body: bytes) -> dict[str, Any]:
        return self._object_decoder.decode(body)
